"""Root filesystem and mounts, in the child. Targets are descriptors throughout; see `oci.init.paths`."""

from __future__ import annotations

import errno
import os
import stat

from oci import mounts
from oci import syscalls as sc
from oci.init import paths
from oci.init.context import Context
from oci.init.copy_up import copy_tree
from oci.init.devices import make_nodes
from oci.plan import operations as op
from oci.plan.mount_options import MountOptions

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

_REAL_SUPERBLOCK: Final = frozenset(("tmpfs", "proc", "sysfs", "mqueue", "devpts", "cgroup", "cgroup2", "overlay"))
_MAX_VALUE: Final = 255
_MAGIC_TYPES: Final = frozenset(("proc", "sysfs"))


class Refused(OSError):
    """A root filesystem that would lead us astray. An OSError, so that it is reported like the kernel's own."""

    def __init__(self, message: str) -> None:
        super().__init__(errno.EPERM, message)


def attach_root(step: op.AttachRoot, context: Context) -> None:
    """Over "/" itself: the old root stays reachable for bind sources, and no directory of the host is needed.

    "/" must not be shared, or the mount would appear in every peer; only "/" itself is changed, so that sources below
    keep their peers for mounts that want to propagate back.
    """
    context.old_root = os.open("/", os.O_PATH | os.O_DIRECTORY)
    context.null = _open_null()
    place = _find_place(step.place)
    if place is None:
        sc.mount(None, "/", None, sc.MS_PRIVATE)
    else:
        # Nothing that is mounted from here on may show up outside, whatever mount the place lies on.
        sc.mount(None, "/", None, sc.MS_SLAVE | sc.MS_REC)
    if step.path is None:
        assert context.rootfs is not None
        tree = context.rootfs
    else:
        tree = context.sources.pop(step, -1)
        tree = tree if tree >= 0 else _clone_root(step.path, step.below)
    if not paths.is_directory(tree):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), step.path)
    sc.move_mount(tree, context.old_root if place is None else place)
    context.root = tree


def _find_place(path: str | None) -> int | None:
    if path is None:
        return None
    try:
        return os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            raise
        return None


def open_sources(step: op.OpenSources, context: Context) -> None:
    if step.root is not None and step.root.path is not None:
        context.sources[step.root] = _clone_root(step.root.path, step.root.below)
    for bind in step.binds:
        if not _is_copied_link(bind):
            context.sources[bind] = _clone_source(bind, context)
    if step.nodes:
        make_nodes(step.nodes, context, step.label)


def open_root(step: op.OpenRoot, context: Context) -> None:
    context.old_root = os.open("/", os.O_PATH | os.O_DIRECTORY)
    context.null = _open_null()
    context.root = os.open(step.path, os.O_PATH | os.O_DIRECTORY)


def mount_filesystem(step: op.MountFilesystem, context: Context) -> None:
    options = step.options
    target = _directory_target(step.destination, context, strict=step.fstype in _MAGIC_TYPES)
    attributes = options.set
    if any(len(parameter.partition("=")[2]) > _MAX_VALUE for parameter in options.data):
        _mount_by_path(step, target, context)
        return
    parameters = [*options.superblock, *options.data]
    if options.readonly and step.fstype not in _REAL_SUPERBLOCK:
        parameters.append("ro")
    try:
        mount = mounts.make_filesystem(step.fstype, step.source, parameters, attributes=attributes)
    except PermissionError:
        if step.fstype != "sysfs":
            raise
        _bind_sysfs(step, target, context)
        return
    if step.fstype == "tmpfs":
        if not any(parameter.startswith("mode=") for parameter in options.data):
            # As runc: without a mode of its own the mount takes that of the directory it covers.
            os.fchmod(_reopen(mount), stat.S_IMODE(os.fstat(target).st_mode))
        if options.copy_up:
            copy_tree(_reopen(target), _reopen(mount))
    if step.label:
        _label_root(mount, step.label)
    _place(mount, target, options, context)


def _label_root(mount: int, label: str) -> None:
    try:
        os.setxattr(_reopen(mount), "security.selinux", label.encode())
    except OSError as error:
        if error.errno != errno.ENOTSUP:  # in a user namespace the policy's own label stays
            raise


def _bind_sysfs(step: op.MountFilesystem, target: int, context: Context) -> None:
    """A user namespace that does not own its network namespace may not mount sysfs: it gets the host's, without the
    host's cgroups, which would be writable (CVE-2023-25809)."""
    mount = mounts.clone_tree(sc.AT_FDCWD, "/sys", recursive=True)
    mounts.set_propagation(mount, sc.MS_SLAVE, recursive=True)
    mounts.set_attributes(mount, step.options.set, recursive=True)
    _place(mount, target, step.options, context)
    try:
        cgroups = paths.open_in_root(context.root, f"{step.destination}/fs/cgroup", os.O_PATH | os.O_DIRECTORY)
    except FileNotFoundError:
        return
    hidden = mounts.make_filesystem("tmpfs", "tmpfs", ("mode=755", "size=4k"), attributes=sc.MOUNT_ATTR_RDONLY)
    sc.move_mount(hidden, cgroups)
    os.close(hidden)
    os.close(cgroups)


def mount_bind(step: op.MountBind, context: Context) -> None:
    """The source is opened here, in the child: it may lie on a file system that never answers."""
    if _is_copied_link(step):
        _copy_link(step, context)
        return
    mount = context.sources.pop(step, -1)
    mount = _renewed(mount, step) if mount >= 0 else _clone_source(step, context)
    if step.destination == "/":
        _replace_root(mount, step.options, context)
        return
    target = paths.make_target(
        context.root,
        step.destination,
        directory=paths.is_directory(mount),
        follow=not step.options.target_nofollow,
    )
    _check_proc_target(step.destination, target, mount)
    _check_kinds(step.destination, target, mount)
    _place(mount, target, step.options, context)


def _is_copied_link(step: op.MountBind) -> bool:
    return step.options.copy_symlink and os.path.islink(step.source)


def _copy_link(step: op.MountBind, context: Context) -> None:
    """The same text where the mount would have been; a link that says so already is fine."""
    text = os.readlink(step.source)
    parent, name = paths.split_last(step.destination)
    directory = paths.make_directories(context.root, parent)
    try:
        os.symlink(text, name, dir_fd=directory)
    except FileExistsError:
        if not stat.S_ISLNK(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
            raise
        if os.readlink(name, dir_fd=directory) != text:
            raise
    finally:
        os.close(directory)


def _replace_root(mount: int, options: MountOptions, context: Context) -> None:
    """A bind mount on "/" lies over the root filesystem and is the root from here on."""
    kept = os.dup(mount)
    _place(mount, context.root, options, context)
    context.root = kept


def mount_descriptor(step: op.MountDescriptor, context: Context) -> None:
    mount = context.mounts[step.index]
    options = step.options
    mounts.set_attributes(mount, options.set, options.clear)
    target = paths.make_target(context.root, step.destination, directory=paths.is_directory(mount))
    _check_proc_target(step.destination, target, mount)
    _check_kinds(step.destination, target, mount)
    _place(mount, target, options, context)


def remount(step: op.Remount, context: Context) -> None:
    target = paths.open_in_root(context.root, step.destination)
    mounts.set_attributes(target, step.options.set, step.options.clear)
    mounts.set_attributes(target, step.options.recursive_set, step.options.recursive_clear, recursive=True)
    for flag, recursive in step.options.propagation:
        mounts.set_propagation(target, flag, recursive=recursive)
    os.close(target)


def make_mount_readonly(step: op.MakeMountReadonly, context: Context) -> None:
    target = paths.open_in_root(context.root, step.destination)
    mounts.set_attributes(target, sc.MOUNT_ATTR_RDONLY)
    os.close(target)


def readonly_path(step: op.ReadonlyPath, context: Context) -> None:
    """Missing paths are fine: the list names what some kernels have."""
    try:
        target = paths.open_in_root(context.root, step.path)
    except (FileNotFoundError, NotADirectoryError):
        return
    mount = mounts.clone_tree(target, recursive=True)
    mounts.set_attributes(mount, sc.MOUNT_ATTR_RDONLY, recursive=True)
    sc.move_mount(mount, target)
    os.close(mount)
    os.close(target)


def mask_path(step: op.MaskPath, context: Context) -> None:
    """A file is covered by the host's /dev/null (checked before), a directory by one empty read-only tmpfs."""
    try:
        target = paths.open_in_root(context.root, step.path)
    except (FileNotFoundError, NotADirectoryError):
        return
    if not paths.is_directory(target):
        mount = mounts.clone_tree(context.null)
        # A shared host /dev must not see what happens here.
        mounts.set_propagation(mount, sc.MS_PRIVATE)
    elif context.empty < 0:
        parameters = ("mode=755", "size=4k", *([f"context={step.label}"] if step.label else []))
        mount = mounts.make_filesystem("tmpfs", "tmpfs", parameters, attributes=sc.MOUNT_ATTR_RDONLY)
    else:
        mount = mounts.clone_tree(context.empty)
    sc.move_mount(mount, target)
    os.close(target)
    if context.empty < 0 and paths.is_directory(mount):
        context.empty = mount
    else:
        os.close(mount)


def pivot_root(step: op.PivotRoot, context: Context) -> None:
    os.fchdir(context.root)
    sc.pivot_root(".", ".")
    # The old root now lies on top of the new one. As a slave it can be taken apart without its peers noticing.
    os.fchdir(context.old_root)
    sc.mount(None, ".", None, sc.MS_SLAVE | sc.MS_REC)
    sc.umount2(".", sc.MNT_DETACH)
    os.chdir("/")
    _leave_old_root(context)


def move_root(step: op.MoveRoot, context: Context) -> None:
    """Without pivot_root the old mounts stay, below the new root; CAP_SYS_CHROOT is then a way out of the container."""
    os.fchdir(context.root)
    os.chroot(".")
    os.chdir("/")
    _leave_old_root(context)


def change_root(step: op.ChangeRoot, context: Context) -> None:
    os.fchdir(context.root)
    os.chroot(".")
    os.chdir("/")
    _leave_old_root(context)


def make_root_readonly(step: op.MakeRootReadonly, context: Context) -> None:
    mounts.set_attributes(context.root, sc.MOUNT_ATTR_RDONLY)


def set_root_propagation(step: op.SetRootPropagation, context: Context) -> None:
    sc.mount(None, "/", None, step.flags)


def make_directory(step: op.MakeDirectory, context: Context) -> None:
    """The working directory is made when it is missing, as every runtime does; a read-only place shows at chdir."""
    try:
        os.close(paths.make_directories(context.root, step.path, step.mode))
    except OSError as error:
        if error.errno not in (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR):
            raise


def _clone_root(path: str, below: int) -> int:
    """A private mount; those below it still learn of the host's, unless the config has it otherwise."""
    tree = mounts.clone_tree(sc.AT_FDCWD, path, recursive=True)
    mounts.set_propagation(tree, below, recursive=True)
    mounts.set_propagation(tree, sc.MS_PRIVATE)
    return tree


def _clone_source(step: op.MountBind, context: Context) -> int:
    options = step.options
    mount = mounts.clone_tree(sc.AT_FDCWD, step.source, recursive=options.recursive, follow=not options.source_nofollow)
    mappings = (step.uid_mappings, step.gid_mappings)
    if mappings in context.idmaps:
        mounts.set_idmap(mount, context.idmaps[mappings], recursive=options.recursive_idmap)
    if options.propagation:
        mounts.set_attributes(mount, options.set, options.clear)
        return mount
    flag, recursive = step.default_propagation
    if recursive and options.recursive:
        mounts.set_attributes(mount, options.set, options.clear)
        mounts.set_propagation(mount, flag, recursive=True)
    else:
        # A single mount: both at once.
        sc.mount_setattr(mount, set=options.set, clear=options.clear, propagation=flag)
    return mount


def _renewed(mount: int, step: op.MountBind) -> int:
    """A clone made now: mount tables list mounts in the order of their making, and this one's turn is now. Kernels
    before 6.15 clone no detached mounts; there it stays where it was."""
    try:
        clone = mounts.clone_tree(mount, recursive=step.options.recursive)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EPERM):
            raise
        return mount
    os.close(mount)
    return clone


def _place(mount: int, target: int, options: MountOptions, context: Context) -> None:
    """Move into place, then what concerns the whole tree; the descriptors are used up."""
    sc.move_mount(mount, target)
    context.directory = ("", -1)
    mounts.set_attributes(mount, options.recursive_set, options.recursive_clear, recursive=True)
    for flag, recursive in options.propagation:
        mounts.set_propagation(mount, flag, recursive=recursive)
    os.close(mount)
    os.close(target)


def _directory_target(destination: str, context: Context, *, strict: bool) -> int:
    target = paths.make_directories(context.root, destination)
    if strict:
        # proc and sysfs are what masked paths, labels and sysctls rely on: never through a link of the image.
        os.close(target)
        try:
            target = paths.open_without_links(context.root, destination, os.O_PATH | os.O_DIRECTORY)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENOTDIR):
                raise Refused(f"{destination} is not a plain directory in the root filesystem")
            raise
    _check_proc_target(destination, target, None)
    return target


def _check_proc_target(destination: str, target: int, mount: int | None) -> None:
    """A link of the image may lead a harmless destination into /proc; the planner allows only a few there by name."""
    if sc.filesystem_type(target) != sc.PROC_SUPER_MAGIC or destination.startswith("/proc/"):
        return
    if destination == "/proc" and (mount is None or sc.filesystem_type(mount) == sc.PROC_SUPER_MAGIC):
        return
    raise Refused(f"{destination} leads into a proc file system")


def _check_kinds(destination: str, target: int, mount: int) -> None:
    if paths.is_directory(target) != paths.is_directory(mount):
        number = errno.ENOTDIR if paths.is_directory(mount) else errno.EISDIR
        raise OSError(
            number, f"{os.strerror(number)}: a directory and a file cannot be mounted on each other", destination
        )


def _open_null() -> int:
    null = os.open("/dev/null", os.O_PATH | os.O_NOFOLLOW)
    status = os.fstat(null)
    if not stat.S_ISCHR(status.st_mode) or status.st_rdev != os.makedev(1, 3):
        raise Refused("the host's /dev/null is not the null device")
    return null


def _leave_old_root(context: Context) -> None:
    os.close(context.old_root)
    os.close(context.null)
    context.old_root = context.null = -1


def _reopen(fd: int) -> int:
    """A descriptor for reading and listing from an O_PATH one; leaves are closed by execve."""
    return os.open(".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=fd)


def _mount_by_path(step: op.MountFilesystem, target: int, context: Context) -> None:
    """mount(2) for parameters that are too long for fsconfig. The path goes through our own procfs, by descriptor."""
    flags = 0
    for attribute, flag in (
        (sc.MOUNT_ATTR_RDONLY, sc.MS_RDONLY),
        (sc.MOUNT_ATTR_NOSUID, sc.MS_NOSUID),
        (sc.MOUNT_ATTR_NODEV, sc.MS_NODEV),
        (sc.MOUNT_ATTR_NOEXEC, sc.MS_NOEXEC),
    ):
        if step.options.set & attribute:
            flags |= flag
    os.fchdir(context.proc)
    try:
        sc.mount(step.source, f"self/fd/{target}", step.fstype, flags, ",".join(map(_quoted, step.options.data)))
    finally:
        os.fchdir(context.old_root)
    os.close(target)


def _quoted(parameter: str) -> str:
    """mount(2) splits at commas, and only a label's value may have quotes around them."""
    key, _, value = parameter.partition("=")
    return f'{key}="{value}"' if key == "context" else parameter
