"""The ends of a container's life on the command line: poststart, destruction, poststop."""

from __future__ import annotations

import os
import time

from oci.cli.containers import open_cgroup
from oci.cli.report import warn
from oci.errors import HookError
from oci.signals import signal
from oci.state import ContainerState, StateDirectory, hook_outputs, process_start

TYPE_CHECKING = False
if TYPE_CHECKING:
    from oci.cgroups import Cgroup
    from oci.cli.dispatch import Settings
    from oci.spec import Spec


_PATIENCE = 10.0


def poststart(state: ContainerState, spec: Spec) -> None:
    """A failing hook stops the container and is the caller's error (runtime.md, 1.3)."""
    if spec.hooks is None or not spec.hooks.poststart:
        return
    from oci.engine.hooks import run_hooks, state_document

    document = state_document(state.container_id, "running", state.pid, state.bundle, state.annotations)
    try:
        run_hooks("poststart", spec.hooks.poststart, document, hook_outputs(state.annotations))
    except HookError:
        kill_init(state)
        raise


def destroy(settings: Settings, state: ContainerState, spec: Spec | None, cgroup: Cgroup | None = None) -> None:
    """Cgroup (looked up, where it is not given) and state, then poststop, whose failures are only reported."""
    if (cgroup := cgroup or open_cgroup(state)) is not None:
        cgroup.kill(signal.SIGKILL)
        cgroup.remove()
    if state.resctrl:
        from oci import resctrl

        resctrl.remove(state.resctrl)
    StateDirectory(settings.root).remove(state.container_id)
    if spec is None or spec.hooks is None or not spec.hooks.poststop:
        return
    from oci.engine.hooks import run_hooks, state_document

    document = state_document(state.container_id, "stopped", 0, state.bundle, state.annotations)
    for hook in spec.hooks.poststop:
        try:
            run_hooks("poststop", (hook,), document, hook_outputs(state.annotations))
        except HookError as error:
            warn(settings, str(error))


def _thaw(pid: int) -> None:
    """On cgroup v1 a frozen process does not even die; it may be frozen in a cgroup that is not of our making."""
    try:
        with open(f"/proc/{pid}/cgroup", encoding="utf-8", errors="surrogateescape") as file:
            paths = [line.rstrip("\n").split(":", 2)[2] for line in file if line.split(":", 2)[1] == "freezer"]
    except (FileNotFoundError, ProcessLookupError):
        return  # it was not frozen: it is gone already
    for path in paths:
        if path != "/" and os.path.exists(f"/sys/fs/cgroup/freezer{path}/freezer.state"):
            with open(f"/sys/fs/cgroup/freezer{path}/freezer.state", "w", encoding="utf-8") as file:
                file.write("THAWED")


def kill_init(state: ContainerState) -> None:
    """SIGKILL, and wait until it has taken effect."""
    try:
        pidfd = os.pidfd_open(state.pid)
    except ProcessLookupError:
        return
    try:
        if process_start(state.pid) == state.process_start:
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            _thaw(state.pid)
    finally:
        os.close(pidfd)
    deadline = time.monotonic() + _PATIENCE
    while process_start(state.pid) == state.process_start and time.monotonic() < deadline:
        time.sleep(0.001)
