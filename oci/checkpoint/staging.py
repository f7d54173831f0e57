"""Where CRIU finds a new container's root filesystem and what is mounted into it: a mount namespace that only it sees.

<place>/            a tmpfs
    rootfs/         the root filesystem
    mounts/<index>  the mounts that came as descriptors
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

from oci import mounts
from oci import syscalls as sc
from oci.checkpoint.external import is_bind
from oci.init import paths
from oci.plan.mounts import destination
from oci.spec import Mount, Spec


def build(place: str, spec: Spec, bundle: str, rootfs: int | None, supplied: Mapping[int, int]) -> None:
    """In the process that becomes CRIU; whatever it makes goes with its mount namespace."""
    sc.unshare(sc.CLONE_NEWNS)
    sc.mount(None, "/", None, sc.MS_SLAVE | sc.MS_REC)
    tree = _clone_root(spec, bundle) if rootfs is None else rootfs
    sc.mount("tmpfs", place, "tmpfs", sc.MS_NOSUID | sc.MS_NODEV, "mode=700")
    os.mkdir(f"{place}/rootfs")
    _move(tree, f"{place}/rootfs")
    root = os.open(f"{place}/rootfs", os.O_PATH | os.O_DIRECTORY)
    with sc.closing(root):
        for mount, directory in _targets(spec, bundle, supplied):
            os.close(paths.make_target(root, destination(mount), directory=directory))
        if spec.root is not None and spec.root.readonly:
            # Where CRIU puts the old root for a moment; it makes a directory of its own where it can.
            os.close(paths.make_directories(root, "/tmp"))
    os.mkdir(f"{place}/mounts")
    for index, fd in supplied.items():
        target = supplied_place(place, index)
        if paths.is_directory(fd):
            os.mkdir(target)
        else:
            os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        _move(fd, target)


def root_place(place: str) -> str:
    return f"{place}/rootfs"


def supplied_place(place: str, index: int) -> str:
    return f"{place}/mounts/{index}"


def _clone_root(spec: Spec, bundle: str) -> int:
    assert spec.root is not None
    tree = mounts.clone_tree(sc.AT_FDCWD, os.path.join(bundle, spec.root.path), recursive=True)
    mounts.set_propagation(tree, sc.MS_PRIVATE, recursive=True)
    return tree


def _move(mount: int, path: str) -> None:
    target = os.open(path, os.O_PATH)
    with sc.closing(target):
        sc.move_mount(mount, target)


def _targets(spec: Spec, bundle: str, supplied: Mapping[int, int]) -> Iterable[tuple[Mount, bool]]:
    """Mount points that must be there, and whether they are directories. What lies in another mount is its content:
    CRIU brings that of new file systems back, and a volume has it already."""
    above: list[str] = []
    for index, mount in enumerate(spec.mounts):
        name = destination(mount)
        if not any(name.startswith(f"{place}/") for place in above):
            if index in supplied:
                yield mount, paths.is_directory(supplied[index])
            elif is_bind(mount):
                yield mount, os.path.isdir(os.path.join(bundle, mount.source or ""))
            else:
                yield mount, True
        above.append(name)
