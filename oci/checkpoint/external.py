"""What a container has from outside, by the names that CRIU knows it by: mounts, namespaces, standard streams.

A dump says `mnt[where it is mounted]:name`, a restore `mnt[name]:source`; the name is the destination in config.json.
Everything a restore uses comes from the new container's config and caller, never from the archive.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Final

from oci import syscalls as sc
from oci.checkpoint import mount_table
from oci.checkpoint.mount_table import MountEntry
from oci.plan.host import CgroupHierarchy
from oci.plan.mount_options import parse_options
from oci.plan.mounts import destination
from oci.spec import Mount, Spec

#: Shared namespaces that CRIU knows by name: type in config.json -> (its word and file, the name).
NAMESPACES: Final = {"network": ("net", "extRootNetNS"), "pid": ("pid", "extRootPidNS")}
STREAMS: Final = "descriptors.json"
CGROUPS: Final = ("cgroup", "cgroup2")
_LIMIT: Final = 1 << 16


def is_bind(mount: Mount) -> bool:
    return mount.type == "bind" or parse_options(mount.options).bind


def mounts_of(spec: Spec, pid: int, supplied: frozenset[int] = frozenset()) -> tuple[str, ...]:
    """For a dump: binds and supplied descriptors of the config, files masked with the null device, and what lies below
    recursive binds. What the kernel makes anew (proc, tmpfs, devpts, cgroups ...) CRIU dumps by itself."""
    entries = mount_table.read(pid)
    table = {entry.id: entry for entry in entries}
    root = os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY)
    found: dict[str, str] = {}
    with sc.closing(root):
        for index, mount in enumerate(spec.mounts):
            if index in supplied or is_bind(mount):
                name = destination(mount)
                place = mount_table.mount_point(root, name, table)
                if place is not None:
                    found[place] = name
                    found |= _below(place, name, entries)
            elif mount.type in CGROUPS and not _has_own_cgroups(spec):
                place = destination(mount)
                found |= {
                    entry.mount_point: entry.mount_point
                    for entry in entries
                    if entry.fstype in CGROUPS and f"{entry.mount_point}/".startswith(f"{place}/")
                }
        for path in spec.linux.masked_paths:
            place = mount_table.mount_point(root, path, table)
            if place is not None and _is_null(root, path):
                found[place] = path
    return tuple(f"mnt[{place}]:{name}" for place, name in found.items())


def _has_own_cgroups(spec: Spec) -> bool:
    """Else what it sees of cgroups are the host's mounts of them."""
    return any(space.type == "cgroup" and not space.path for space in spec.linux.namespaces)


def _below(place: str, name: str, entries: Sequence[MountEntry]) -> dict[str, str]:
    """Mounts that came along with a recursive bind; what the config mounts there itself takes their place."""
    return {
        entry.mount_point: name + entry.mount_point[len(place) :]
        for entry in entries
        if entry.mount_point.startswith(f"{place}/")
    }


def _is_null(root: int, path: str) -> bool:
    status = os.stat(path.lstrip("/"), dir_fd=root, follow_symlinks=False)
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == os.makedev(1, 3)


def sources_of(
    spec: Spec, bundle: str, places: Mapping[int, str], cgroups: Sequence[CgroupHierarchy] = ()
) -> tuple[str, ...]:
    """For a restore: `places` has where supplied descriptors are mounted for CRIU to find them, `cgroups` the
    container's own cgroup in each hierarchy."""
    sources: dict[str, str] = dict.fromkeys(spec.linux.masked_paths, os.devnull)
    mounted = [entry.mount_point for entry in mount_table.read("self")]
    for index, mount in enumerate(spec.mounts):
        name = destination(mount)
        if index in places:
            sources[name] = places[index]
        elif is_bind(mount) and mount.source:
            source = os.path.realpath(os.path.join(bundle, mount.source))
            sources[name] = source
            if parse_options(mount.options).recursive:
                sources |= {name + place[len(source) :]: place for place in mounted if place.startswith(f"{source}/")}
        elif mount.type in CGROUPS and not _has_own_cgroups(spec):
            if any(hierarchy.version == 1 for hierarchy in cgroups):
                sources |= {f"{name}/{hierarchy.name}": hierarchy.directory for hierarchy in cgroups}
            elif cgroups:
                sources[name] = cgroups[0].directory
    return tuple(f"mnt[{name}]:{source}" for name, source in sources.items())


def namespaces(pid: int, outside: Set[str]) -> tuple[str, ...]:
    """For a dump; a restore finds their descriptors under the names."""
    return tuple(
        f"{word}[{os.stat(f'/proc/{pid}/ns/{word}').st_ino}]:{name}"
        for kind, (word, name) in NAMESPACES.items()
        if kind in outside
    )


def streams(pid: int) -> tuple[str, ...]:
    """The keys of the descriptors 0, 1 and 2 of a process, for the restored one to be given others in their place."""
    known = {entry.id for entry in mount_table.read(pid)}
    return tuple(_stream(pid, fd, known) for fd in range(3))


def _stream(pid: int, fd: int, known: set[int]) -> str:
    path = f"/proc/{pid}/fd/{fd}"
    try:
        target = os.readlink(path)
        status = os.stat(path)
    except FileNotFoundError:
        return ""
    if target.startswith("pipe:["):
        return target
    if target.startswith("socket:["):
        return f"unix[{target[8:-1]}]"
    mount = mount_table.mount_id(fd, pid)
    return target if mount in known else f"file[{mount:x}:{status.st_ino:x}]"


def external_streams(keys: Sequence[str]) -> tuple[str, ...]:
    """Those that CRIU must be told of when it dumps; it finds pipes by itself."""
    return tuple(dict.fromkeys(key for key in keys if key.startswith(("file[", "unix["))))


def write_streams(images: int, keys: Sequence[str]) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
    with os.fdopen(os.open(STREAMS, flags, 0o600, dir_fd=images), "w", encoding="utf-8") as file:
        json.dump(list(keys), file)


def read_streams(images: int) -> tuple[str, ...]:
    """Empty when the archive has none, or something else in its place."""
    try:
        fd = os.open(STREAMS, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=images)
        with os.fdopen(fd, "rb") as file:
            keys = json.loads(file.read(_LIMIT))
    except (OSError, ValueError, RecursionError):
        return ()
    return tuple(key for key in keys if isinstance(key, str)) if isinstance(keys, list) else ()


def inherited(keys: Sequence[str], fds: Sequence[int], null: int) -> Iterator[tuple[str, int]]:
    """Each key once: two streams that were one stay one. In the place of a file CRIU wants what has a position; `null`
    is for those that have none."""
    seen = set()
    for key, fd in zip(keys, fds, strict=False):
        if key in seen or not key.startswith(("pipe:[", "file[", "unix[", "tty[")):
            continue
        seen.add(key)
        yield key, null if key.startswith("file[") and not _is_seekable(fd) else fd


def _is_seekable(fd: int) -> bool:
    try:
        os.lseek(fd, 0, os.SEEK_CUR)
    except OSError:
        return False
    return not os.isatty(fd)
