"""coracle-oci restore: a container from what `checkpoint` wrote, in a bundle like the one it had."""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

from oci.checkpoint.criu import need
from oci.checkpoint.dump import outside_of
from oci.checkpoint.restore import Restored, RestoreRequest, restore
from oci.cli.bundle import BUNDLE_OPTIONS, end, make_cgroup, read_bundle, state_of
from oci.cli.checkpoint_options import OPTIONS as COMMON
from oci.cli.checkpoint_options import common
from oci.cli.containers import only_word, send_console, tell_pid
from oci.cli.foreground import wait_for
from oci.cli.lifecycle import destroy, poststart
from oci.cli.options import Parsed, UsageError, switch, value
from oci.engine.hooks import run_hooks, state_document
from oci.spec import Hooks, Spec
from oci.state import StateDirectory

if TYPE_CHECKING:
    from oci.cgroups import Cgroup
    from oci.cli.dispatch import Settings

USAGE: Final = "restore [options] ID"
OPTIONS = (
    *COMMON,
    *BUNDLE_OPTIONS,
    switch("detach d", "do not wait for the process"),
    switch("keep", "do not remove the container when its process has ended"),
    switch("no-subreaper", "accepted for compatibility"),
    switch("no-pivot", "accepted for compatibility"),
    switch("tcp-close", "close the TCP connections instead of bringing them back"),
    value("lsm-profile", "TYPE:NAME", "another security label for the processes"),
    value("lsm-mount-context", "CONTEXT", "another security label for the mounts"),
)


def run(settings: Settings, parsed: Parsed) -> int:
    container_id = only_word(parsed)
    need(parsed.text("criu") or "criu")
    bundle, content, spec = read_bundle(parsed)
    directory = StateDirectory(settings.root)
    terminal = spec.process is not None and spec.process.terminal
    socket_path = parsed.text("console-socket")
    detached = parsed.switch("detach")
    if detached and terminal and not socket_path:
        raise UsageError("a detached terminal needs --console-socket")
    with ExitStack() as undo:
        path = directory.claim(container_id)
        undo.callback(directory.remove, container_id)
        cgroup = make_cgroup(settings, container_id, spec)
        if cgroup is not None:
            undo.callback(cgroup.remove)
        restored = _restore(parsed, container_id, spec, bundle, path, cgroup)
        undo.callback(end, restored.pid)
        state = state_of(settings, container_id, restored.pid, spec, bundle, cgroup)
        directory.write(state, content)
        if socket_path and restored.console_fd is not None:
            send_console(socket_path, restored.console_fd)
        tell_pid(parsed, restored.pid, restored.pidfd)
        poststart(state, spec)
        undo.pop_all()
    if detached:
        return 0
    try:
        return wait_for(restored.pid, restored.pidfd, restored.console_fd)
    finally:
        if not parsed.switch("keep"):
            destroy(settings, state, spec)


def _restore(
    parsed: Parsed, container_id: str, spec: Spec, bundle: str, directory: str, cgroup: Cgroup | None
) -> Restored:
    images = os.path.abspath(parsed.text("image-path") or "checkpoint")
    place = f"{directory}/restore"
    os.mkdir(place, 0o700)
    hooks = spec.hooks or Hooks()

    def runtime_hooks(pid: int) -> None:
        document = state_document(container_id, "creating", pid, bundle, spec.annotations)
        run_hooks("prestart", hooks.prestart, document)
        run_hooks("createRuntime", hooks.create_runtime, document)

    spaces = _spaces(spec)
    try:
        return restore(
            RestoreRequest(
                container_id=container_id,
                spec=spec,
                bundle=bundle,
                images=images,
                work=os.path.abspath(parsed.text("work-path") or images),
                place=place,
                program=parsed.text("criu") or "criu",
                cgroup=cgroup,
                spaces=spaces,
                options=common(parsed, spec),
                on_namespaces=runtime_hooks,
            )
        )
    finally:
        for fd in spaces.values():
            os.close(fd)
        os.rmdir(place)


def _spaces(spec: Spec) -> dict[str, int]:
    return {
        space.type: os.open(space.path, os.O_RDONLY)
        for space in spec.linux.namespaces
        if space.path and space.type in outside_of(spec)
    }
