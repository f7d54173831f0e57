"""A directory of a mount that is attached nowhere, as a detached mount of its own.

Linux copies such a tree from 6.15 on. Before that a mount can only be copied by who has it in his own mount namespace:
there a thread with a namespace that nobody else sees attaches it, and is gone with both when it has the copy.
"""

from __future__ import annotations

import errno
import threading
from typing import Final

from oci import syscalls

_CLONE: Final = syscalls.OPEN_TREE_CLONE | syscalls.AT_EMPTY_PATH


def subtree(mount: int, directory: int) -> int:
    """`directory` is a descriptor of a directory on the detached `mount`. Blocks for some milliseconds at most."""
    try:
        return syscalls.open_tree(directory, "", _CLONE)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    return attached_subtree(mount, directory)


def attached_subtree(mount: int, directory: int) -> int:
    """On any kernel. `mount` is attached to nothing any more when this returns, and can only be closed."""
    outcome: list[int | OSError] = []

    def copy() -> None:
        try:
            syscalls.unshare(syscalls.CLONE_NEWNS)
            syscalls.mount(None, "/", None, syscalls.MS_REC | syscalls.MS_SLAVE)
            syscalls.move_mount(mount, syscalls.AT_FDCWD, "/")
            outcome.append(syscalls.open_tree(directory, "", _CLONE))
        except OSError as error:
            outcome.append(error)

    thread = threading.Thread(target=copy, name="subtree")
    thread.start()
    thread.join()
    made = outcome[0]
    if isinstance(made, OSError):
        raise made
    return made
