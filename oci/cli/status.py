"""The state of a container as the command line shows it (runtime.md, "State", and what runc adds)."""

from __future__ import annotations

from oci.state import ContainerState, StateDirectory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

# The same as oci.spec.VERSION, which would cost the import of all of it.
_SPEC_VERSION: Final = "1.3.0"


def status_of(directory: StateDirectory, state: ContainerState) -> str:
    """ "created", "running", "paused" or "stopped"."""
    status = directory.status(state)
    return "paused" if status == "running" and _frozen(state) else status


def describe(directory: StateDirectory, state: ContainerState) -> dict[str, object]:
    status = status_of(directory, state)
    return {
        "ociVersion": _SPEC_VERSION,
        "id": state.container_id,
        "pid": 0 if status == "stopped" else state.pid,
        "status": status,
        "bundle": state.bundle,
        "rootfs": state.rootfs,
        "created": state.created,
        "owner": "",
        "annotations": state.annotations,
        **_scope(state),
    }


def _scope(state: ContainerState) -> dict[str, str]:
    """What crun adds for the manager systemd."""
    if state.cgroup_manager != "systemd" or state.cgroup_path is None:
        return {}
    return {"systemd-scope": state.cgroup_path.rpartition("/")[2]}


def _frozen(state: ContainerState) -> bool:
    """By the two places where a frozen cgroup shows; anything else would mean loading a cgroup driver for one bit."""
    if state.cgroup_path is None:
        return False
    for path, word in (
        (f"/sys/fs/cgroup/freezer{state.cgroup_path}/freezer.state", "FRO"),
        (f"/sys/fs/cgroup{state.cgroup_path}/cgroup.freeze", "1"),
    ):
        try:
            with open(path, encoding="utf-8") as file:
                return file.read().startswith(word)
        except OSError:
            continue
    return False
