"""imagesvc.mounts where the host's mounts are shared, as systemd has them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from imagesvc.mounts import _overlay_by_mount
from oci import syscalls

pytestmark = pytest.mark.root


def test_an_overlay_made_by_mount_is_nobodys_peer(tmp_path: Path) -> None:
    """A root that is shared with anybody cannot be pivoted to."""
    names = ("one", "two", "target", "place")
    for name in names:
        (tmp_path / name).mkdir()
    child = os.fork()
    if child == 0:
        status = 2
        try:
            status = int("shared:" in _attached(*(tmp_path / name for name in names)))
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def _attached(one: Path, two: Path, target: Path, place: Path) -> str:
    """The line of /proc/self/mountinfo of the overlay below a private mount, in a mount namespace of our own."""
    syscalls.unshare(syscalls.CLONE_NEWNS)
    syscalls.mount(None, "/", None, syscalls.MS_SHARED | syscalls.MS_REC)
    roots = [os.open(path, os.O_PATH | os.O_DIRECTORY) for path in (one, two)]
    overlay = _overlay_by_mount(roots, None, None, target, "")
    syscalls.mount("place", place, "tmpfs")
    syscalls.mount(None, place, None, syscalls.MS_PRIVATE)
    (place / "root").mkdir()
    syscalls.move_mount(overlay, syscalls.AT_FDCWD, str(place / "root"))
    (line,) = (line for line in Path("/proc/self/mountinfo").read_text().splitlines() if f" {place}/root " in line)
    return line
