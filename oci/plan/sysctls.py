"""Which sysctls a container may set: those that belong to a namespace it owns. Pure.

The kernel has no list of namespaced sysctls; writing any other one changes the host (kernel.core_pattern is a root
shell on it). So this is an allow-list, checked against the namespaces that the container does not share with us.
"""

from __future__ import annotations

from oci.errors import SpecError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Final

_IPC: Final = frozenset(
    "kernel." + name
    for name in ("msgmax", "msgmnb", "msgmni", "sem", "shmall", "shmmax", "shmmni", "shm_rmid_forced")
)  # fmt: skip


def check_sysctls(sysctls: Mapping[str, str], namespaces: frozenset[str], field: str = "linux.sysctl") -> None:
    """Raise `SpecError` unless each name belongs to one of `namespaces`, the types the container does not share."""
    for name, value in sysctls.items():
        where = f"{field}[{name!r}]"
        needed = _owner(name)
        if needed is None:
            raise SpecError(where, "is not in a namespace of its own, so setting it would change the host")
        if needed not in namespaces:
            raise SpecError(where, f"needs a {needed} namespace that is not the host's")
        if any(character in value for character in "\0\n"):
            raise SpecError(where, "value contains a control character")


def sysctl_path(name: str) -> str:
    """The file below /proc/sys. Where a name has slashes, dots are part of it (net/ipv4/conf/eth0.1/forwarding)."""
    return name if "/" in name else name.replace(".", "/")


def _owner(name: str) -> str | None:
    path = sysctl_path(name)
    parts = path.split("/")
    if "" in parts or ".." in parts or "." in parts:
        return None
    dotted = ".".join(parts)
    if dotted in _IPC or parts[:2] == ["fs", "mqueue"]:
        return "ipc"
    if parts[0] == "net" and len(parts) > 1:
        return "network"
    if dotted == "kernel.domainname":
        return "uts"
    if parts[0] == "user" and len(parts) > 1:
        return "user"
    return None
