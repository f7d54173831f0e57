"""The terminal of a process, in the child: made from the container's own devpts, so that the container can name it.

The path /dev/pts/N is never opened: the slave comes from the master (TIOCGPTPEER), and /dev/console is a bind mount of
that descriptor.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct

from oci import mounts
from oci import syscalls as sc
from oci.handshake.channel import Kind
from oci.init import paths
from oci.init.context import Context
from oci.plan import operations as op

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

_DEVPTS_SUPER_MAGIC: Final = 0x1CD1
_TIOCSPTLCK: Final = 0x4004_5431
_TIOCGPTPEER: Final = 0x5441
_TIOCSCTTY: Final = 0x540E
_TIOCSWINSZ: Final = 0x5414


def open_console(step: op.OpenConsole, context: Context) -> None:
    master = _open_master(context.root)
    fcntl.ioctl(master, _TIOCSPTLCK, struct.pack("=i", 0))
    slave = fcntl.ioctl(master, _TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    assert isinstance(slave, int)
    if step.height or step.width:
        fcntl.ioctl(slave, _TIOCSWINSZ, struct.pack("=4H", step.height, step.width, 0, 0))
    os.fchown(slave, step.uid, -1)
    if step.bind_console:
        _bind_console(slave, context.root)
    fcntl.ioctl(slave, _TIOCSCTTY, 0)
    context.channel.tell(Kind.CONSOLE, fd=master)
    os.close(master)
    context.terminal = slave


def _open_master(root: int) -> int:
    master = paths.open_in_root(root, "/dev/pts/ptmx", os.O_RDWR | os.O_NOCTTY)
    status = os.fstat(master)
    if sc.filesystem_type(master) != _DEVPTS_SUPER_MAGIC or status.st_rdev != os.makedev(5, 2):
        raise OSError(errno.ENOTTY, "/dev/pts/ptmx is not a terminal multiplexer")
    return master


def _bind_console(slave: int, root: int) -> None:
    directory = paths.open_in_root(root, "/dev", os.O_PATH | os.O_DIRECTORY)
    try:
        try:
            flags = os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_WRONLY
            os.close(os.open("console", flags, 0o666, dir_fd=directory))
        except FileExistsError:
            pass
        target = os.open("console", os.O_PATH | os.O_NOFOLLOW, dir_fd=directory)
        if stat.S_IFMT(os.fstat(target).st_mode) not in (stat.S_IFREG, stat.S_IFCHR):
            raise FileExistsError(errno.EEXIST, "a file of another kind is in the place of the console", "/dev/console")
        mount = mounts.clone_tree(slave)
        mounts.set_propagation(mount, sc.MS_PRIVATE)
        sc.move_mount(mount, target)
        os.close(mount)
        os.close(target)
    finally:
        os.close(directory)
