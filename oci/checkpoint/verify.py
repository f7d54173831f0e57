"""Is a restored container what its config says? An archive may have been written by anybody: what CRIU makes of it is
looked at while it is still stopped. Pure but for `read_process`.

Held against the config: capabilities, uids (of a container that cannot change them), no_new_privs, seccomp, security
label, namespaces, and the mount table: nothing mounted that the config does not mount, nothing of it left out.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from oci import capabilities
from oci.checkpoint.errors import Distrusted
from oci.checkpoint.mount_table import MountEntry
from oci.plan.mount_options import parse_options
from oci.spec import Mount, Spec
from oci.values import frozen

_CAPABILITIES: Final = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
_SET_IDS: Final = capabilities.mask(("CAP_SETUID", "CAP_SETGID"))
_NAMESPACE_FILES: Final = ("mnt", "pid", "ipc", "uts", "net", "cgroup", "user")
_SPEC_NAMES: Final = {"mount": "mnt", "network": "net"}


@frozen
class ProcessFacts:
    """`status` is /proc/PID/status, `namespaces` file below ns/ -> inode, `label` of the security module."""

    pid: int
    status: Mapping[str, str]
    namespaces: Mapping[str, int]
    label: str = ""


def read_process(pid: int) -> ProcessFacts:
    with open(f"/proc/{pid}/status", encoding="utf-8", errors="surrogateescape") as file:
        status = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
    spaces = {name: os.stat(f"/proc/{pid}/ns/{name}").st_ino for name in _NAMESPACE_FILES}
    return ProcessFacts(pid=pid, status=status, namespaces=spaces, label=_label(pid))


def _label(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/attr/current", encoding="utf-8", errors="surrogateescape") as file:
            return file.read().rstrip("\0\n")
    except OSError:  # no security module, or one without labels
        return ""


def check_processes(spec: Spec, processes: Iterable[ProcessFacts], host: Mapping[str, int], *, filtered: bool) -> None:
    """`host` has the inodes of the runtime's own namespaces; `filtered`: there is to be a seccomp filter. Raises
    Distrusted."""
    private = {_SPEC_NAMES.get(space.type, space.type) for space in spec.linux.namespaces if space.path is None}
    for facts in processes:
        _check_identity(spec, facts, filtered=filtered)
        for name in private & host.keys():
            if facts.namespaces.get(name) == host[name]:
                raise Distrusted(f"process {facts.pid} is in the {name} namespace of the host")


def _check_identity(spec: Spec, facts: ProcessFacts, *, filtered: bool) -> None:
    process = spec.process
    assert process is not None
    who = f"process {facts.pid}"
    allowed = _bounding(spec)
    for name in _CAPABILITIES:
        if extra := int(facts.status.get(name, "0"), 16) & ~allowed:
            raise Distrusted(f"{who} has capabilities beyond its config's ({name}: {extra:#x})")
    strangers = set(facts.status.get("Uid", "").split()) - {str(process.user.uid)}
    if strangers and not allowed & _SET_IDS and not _has_user_namespace(spec):
        raise Distrusted(f"{who} has uid {min(strangers)}, and its config allows none but {process.user.uid}")
    if process.no_new_privileges and facts.status.get("NoNewPrivs") != "1":
        raise Distrusted(f"{who} may gain privileges, which its config forbids")
    if filtered and facts.status.get("Seccomp") != "2":
        raise Distrusted(f"{who} has no seccomp filter")
    if process.apparmor_profile and facts.label.partition(" ")[0] != process.apparmor_profile:
        raise Distrusted(f"{who} is confined as {facts.label!r}, its config says {process.apparmor_profile!r}")


def _has_user_namespace(spec: Spec) -> bool:
    return any(space.type == "user" for space in spec.linux.namespaces)


def check_mounts(
    spec: Spec, entries: Sequence[MountEntry], places: Mapping[str, Mount], covered: Iterable[str]
) -> None:
    """`places` are where the config's mounts are, links resolved; `covered` those masked and read-only paths that exist
    in the container. A container that may mount what it likes is not held to anything."""
    if _bounding(spec) & capabilities.SYS_ADMIN:
        return
    hidden = frozenset(covered)
    there = {entry.mount_point for entry in entries}
    for entry in entries:
        place = entry.mount_point
        if place in ("/", "/dev/console") or place in places or place in hidden:
            continue
        if not any(place.startswith(f"{above}/") and _brings_more(above, mount) for above, mount in places.items()):
            raise Distrusted(f"{entry.fstype} is mounted at {place}, where its config mounts nothing")
    if bare := hidden - there:
        raise Distrusted(f"{min(bare)} is neither masked nor read-only, as its config says")
    for entry in entries:
        mount = places.get(entry.mount_point)
        if mount is not None and parse_options(mount.options).readonly and "ro" not in entry.options:
            raise Distrusted(f"{entry.mount_point} is writable, its config says read-only")


def _brings_more(above: str, mount: Mount) -> bool:
    """Recursive binds bring mounts along, cgroups are one for each hierarchy, nodes in /dev may be bound."""
    return above == "/dev" or mount.type in ("cgroup", "cgroup2") or parse_options(mount.options).recursive


def _bounding(spec: Spec) -> int:
    process = spec.process
    return capabilities.mask(process.capabilities.bounding) if process and process.capabilities else 0
