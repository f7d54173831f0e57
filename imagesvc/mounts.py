"""Layers mounted once, and overlays made of them. Owns every mount of the image service.

A mount is a descriptor: detached, in no mount table, gone when the last descriptor of it is closed, unless it was moved
somewhere first. An overlay holds its layers by itself, so a layer's descriptor may be closed, and its file removed,
under a running container.

Where the kernel takes no detached layers (probed at start), layers in EROFS form are attached below
`<runroot>/layers/`, and an overlay is attached for a moment at `<runroot>/mounts/`, cloned and detached again.

The calls block for well under a millisecond; they are made in threads, hence the lock.
"""

from __future__ import annotations

import os
import secrets
import shutil
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final

from imagesvc.errors import LayerError
from imagesvc.layer.files import EMPTY, LayerId, file_name, open_writer, remove
from imagesvc.layer.writer import LayerForm
from oci import mounts, syscalls

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_LONGEST_PARAMETER: Final = 255  # fsconfig(2)


class Way(Enum):
    """How overlays get their layers."""

    DETACHED = "detached mounts, by descriptor"
    ATTACHED = "attached mounts, by path"


@dataclass(frozen=True, slots=True, kw_only=True)
class Owners:
    """A user namespace as the owners of an image's files: `uid` and `gid` are the host's ids of its root, and the
    `size` ids from there on its others."""

    user_fd: int
    uid: int
    gid: int
    size: int

    def of(self, uid: int, gid: int) -> tuple[int, int]:
        """The host's ids for an image's; its root's for those that have none."""
        return self.uid + (uid if uid < self.size else 0), self.gid + (gid if gid < self.size else 0)


class LayerMounts:
    def __init__(self, layers: Path, runroot: Path, way: Way) -> None:
        self.way = way
        self._layers = layers
        self._attached = runroot / "layers"
        self._passing = runroot / "mounts"
        self._lock = threading.Lock()
        self._open: dict[LayerId, int] = {}
        for directory in (self._attached, self._passing):
            directory.mkdir(parents=True, exist_ok=True)
            detach_below(directory)

    def root(self, layer: LayerId, form: LayerForm) -> int:
        """A descriptor of the layer's root, kept open here; raises LayerError where it cannot be mounted."""
        with self._lock:
            fd = self._open.get(layer)
            if fd is None:
                try:
                    fd = self._mount(self._layers / file_name(layer, form), layer, form)
                except OSError as error:
                    raise LayerError(layer, f"cannot be mounted: {error.strerror}") from error
                self._open[layer] = fd
            return fd

    def overlay(
        self,
        roots: Sequence[int],
        *,
        upper: Path | None = None,
        work: Path | None = None,
        owners: Owners | None = None,
        label: str = "",
    ) -> int:
        """An overlay of `roots` (from the top down), read-only without `upper`. Raises OSError.

        The upper layer is volatile: nobody waits for its data to reach the disk. With `owners` the layers show their
        files with mapped owners, which is what overlayfs copies up; it has no idmapped mounts itself. With `label` all
        files have this SELinux label, whichever lies on the disk.
        """
        with ExitStack() as passing:
            if owners is not None:
                roots = [self._mapped(root, owners.user_fd, passing) for root in roots]
            if self.way is Way.DETACHED:
                return _overlay_of_descriptors(roots, upper, work, label)
            return _overlay_by_mount(roots, upper, work, self._passing_directory(passing), label)

    def _mapped(self, root: int, user_fd: int, passing: ExitStack) -> int:
        """A clone of the layer with mapped owners, for as long as `passing` is open: the overlay makes its own."""
        clone = mounts.clone_tree(root)
        passing.callback(os.close, clone)
        mounts.set_idmap(clone, user_fd)
        if self.way is Way.DETACHED:
            return clone
        target = self._passing_directory(passing)
        syscalls.move_mount(clone, syscalls.AT_FDCWD, str(target))
        passing.callback(syscalls.umount2, target, syscalls.MNT_DETACH)
        return clone

    def _passing_directory(self, passing: ExitStack) -> Path:
        target = self._passing / secrets.token_hex(8)
        target.mkdir()
        passing.callback(target.rmdir)
        return target

    def forget(self, layer: LayerId) -> None:
        """Before its file is removed."""
        with self._lock:
            fd = self._open.pop(layer, None)
            if fd is not None:
                os.close(fd)
                self._detach(layer)

    def close(self) -> None:
        with self._lock:
            for layer, fd in self._open.items():
                os.close(fd)
                self._detach(layer)
            self._open.clear()

    def _mount(self, path: Path, layer: LayerId, form: LayerForm) -> int:
        if form is LayerForm.DIRECTORY:
            return os.open(path, _DIRECTORY)
        fd = mount_erofs(path)
        if self.way is Way.DETACHED:
            return fd
        with syscalls.closing(fd):
            target = self._attachment(layer)
            target.mkdir(exist_ok=True)
            syscalls.move_mount(fd, syscalls.AT_FDCWD, str(target))
        return os.open(target, _DIRECTORY)

    def _attachment(self, layer: LayerId) -> Path:
        return self._attached / layer.replace(":", "-")

    def _detach(self, layer: LayerId) -> None:
        target = self._attachment(layer)
        if self.way is Way.ATTACHED and target.exists():
            syscalls.umount2(target, syscalls.MNT_DETACH)
            target.rmdir()


def mount_erofs(path: Path) -> int:
    """A detached, read-only mount of the file."""
    source = str(path)
    if len(source) <= _LONGEST_PARAMETER:
        return mounts.make_filesystem("erofs", source, attributes=syscalls.MOUNT_ATTR_RDONLY)
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    with syscalls.closing(fd):
        return mounts.make_filesystem("erofs", f"/proc/self/fd/{fd}", attributes=syscalls.MOUNT_ATTR_RDONLY)


def detach_below(directory: Path) -> None:
    """What a daemon that was killed left attached in `directory`."""
    for entry in sorted(directory.iterdir()):
        if os.path.ismount(entry):
            syscalls.umount2(entry, syscalls.MNT_DETACH)
        entry.rmdir()


def _overlay_of_descriptors(roots: Sequence[int], upper: Path | None, work: Path | None, label: str) -> int:
    fs = syscalls.fsopen("overlay")
    with syscalls.closing(fs):
        syscalls.fsconfig(fs, syscalls.FSCONFIG_SET_STRING, "source", "overlay")
        for root in roots:
            syscalls.fsconfig(fs, syscalls.FSCONFIG_SET_FD, "lowerdir+", root)
        if upper is not None and work is not None:
            _set_directory(fs, "upperdir", upper)
            _set_directory(fs, "workdir", work)
            syscalls.fsconfig(fs, syscalls.FSCONFIG_SET_FLAG, "volatile")
        syscalls.fsconfig(fs, syscalls.FSCONFIG_SET_STRING, "index", "off")
        if label:
            syscalls.fsconfig(fs, syscalls.FSCONFIG_SET_STRING, "context", label)
        syscalls.fsconfig(fs, syscalls.FSCONFIG_CMD_CREATE)
        return syscalls.fsmount(fs, 0 if upper else syscalls.MOUNT_ATTR_RDONLY)


def _set_directory(fs: int, key: str, path: Path) -> None:
    if len(str(path)) <= _LONGEST_PARAMETER:
        syscalls.fsconfig(fs, syscalls.FSCONFIG_SET_STRING, key, str(path))
        return
    fd = os.open(path, _DIRECTORY)
    with syscalls.closing(fd):
        syscalls.fsconfig(fs, syscalls.FSCONFIG_SET_FD, key, fd)


def _overlay_by_mount(roots: Sequence[int], upper: Path | None, work: Path | None, target: Path, label: str) -> int:
    """mount(2) takes one page of options: descriptors make the shortest paths, and need no escapes."""
    options = ["lowerdir=" + ":".join(f"/proc/self/fd/{root}" for root in roots), "index=off"]
    if label:
        options.append(f'context="{label}"')  # its comma would end the option
    opened = [os.open(path, _DIRECTORY) for path in (upper, work) if path is not None]
    with syscalls.closing(*opened):
        if len(opened) == 2:
            options += [f"upperdir=/proc/self/fd/{opened[0]}", f"workdir=/proc/self/fd/{opened[1]}", "volatile"]
        flags = 0 if upper else syscalls.MS_RDONLY
        syscalls.mount("overlay", target, "overlay", flags, ",".join(options))
    try:
        # Below a shared "/", as systemd has it, a mount is shared and so is its clone: no root to pivot to.
        syscalls.mount(None, target, None, syscalls.MS_PRIVATE)
        return mounts.clone_tree(syscalls.AT_FDCWD, str(target))
    finally:
        syscalls.umount2(target, syscalls.MNT_DETACH)


# --- what this kernel and this file system can do --------------------------------------------------------------------


def choose_form(layers: Path, wanted: LayerForm | None) -> LayerForm:
    """EROFS if a file in `layers` can be mounted, unless told otherwise; leaves a layer of nothing there.

    Raises LayerError where `wanted` is EROFS and it cannot.
    """
    for form in (wanted,) if wanted else (LayerForm.EROFS, LayerForm.DIRECTORY):
        path = layers / file_name(EMPTY, form)
        remove(path)
        writer = open_writer(path, EMPTY, form)
        try:
            writer.finish()
        finally:
            writer.close()
        if form is LayerForm.DIRECTORY:
            return form
        try:
            os.close(mount_erofs(path))
        except OSError as error:
            remove(path)
            if wanted:
                raise LayerError(str(path), f"this kernel cannot mount EROFS files here: {error.strerror}") from error
            continue
        return form
    raise AssertionError("the directory form needs nothing")


def choose_way(layers: Path, staging: Path, runroot: Path, form: LayerForm) -> Way:
    """Raises LayerError where overlayfs cannot be used on this file system at all."""
    problem = ""
    for way in Way:
        probe = LayerMounts(layers, runroot, way)
        try:
            try_overlay(probe, form, staging)
            return way
        except OSError as error:
            problem = str(error.strerror)
        finally:
            probe.close()
    raise LayerError(str(layers), f"overlayfs cannot be used here: {problem}")


def try_overlay(layer_mounts: LayerMounts, form: LayerForm, staging: Path, owners: Owners | None = None) -> None:
    """Raises what an overlay of a layer of nothing, and a writable directory in `staging`, raises."""
    directory = staging / f"probe-{secrets.token_hex(8)}"
    upper, work = directory / "upper", directory / "work"
    upper.mkdir(parents=True)
    work.mkdir()
    try:
        os.close(layer_mounts.overlay([layer_mounts.root(EMPTY, form)], upper=upper, work=work, owners=owners))
    finally:
        shutil.rmtree(directory, ignore_errors=True)
