"""Root filesystems that change while a container of them is made: another container of the pod swaps directories with
links all the time. A runtime that looks first and uses the name afterwards makes its files on the host.

The swapping goes on as fast as the kernel does it; each case makes enough containers for both orders to happen.
"""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from oci.errors import ContainerError
from tests.system.containers import Box, with_mount
from tests.system.hostile import guarded_box, make_victim

_EXCHANGE = 2
_ROUNDS = 25
_libc = ctypes.CDLL(None, use_errno=True)


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    return make_victim(tmp_path)


@pytest.fixture
def box(tmp_path: Path, victim: Path) -> Iterator[Box]:
    with guarded_box(tmp_path, victim) as made:
        yield made


@contextmanager
def swapping(place: Path, link: str) -> Iterator[None]:
    """`place` is a directory or file and a link to somewhere else by turns, thousands of times a second."""
    other = place.with_name(f"{place.name}-other")
    other.symlink_to(link)
    if not place.exists():
        place.mkdir()
    first, second = os.fsencode(place), os.fsencode(other)
    pid = os.fork()
    if pid == 0:
        try:
            while True:
                _libc.renameat2(-100, first, -100, second, _EXCHANGE)
        finally:
            os._exit(1)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def run(box: Box, changes: dict[str, Any], *program: str) -> tuple[int, set[str]]:
    """How many of the containers came to be, and why others did not."""
    made, refusals = 0, set()
    for _ in range(_ROUNDS):
        try:
            box.run(*(program or ("true",)), changes=changes)
            made += 1
        except ContainerError as error:
            refusals.add(str(error))
    return made, refusals


def test_a_mount_point(box: Box, victim: Path) -> None:
    """CVE-2021-30465, CVE-2024-45310."""
    entry = with_mount(box, {"destination": "/mnt/made", "source": "tmpfs", "type": "tmpfs", "options": ["mode=755"]})
    with swapping(box.rootfs / "mnt", str(victim)):
        made, _ = run(box, entry)
    assert made


def test_a_file_as_a_mount_point(box: Box, victim: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_text("x")
    entry = with_mount(box, {"destination": "/data/file", "source": str(source), "type": "bind", "options": ["bind"]})
    with swapping(box.rootfs / "data", str(victim)):
        made, _ = run(box, entry)
    assert made


def test_dev(box: Box, victim: Path) -> None:
    """CVE-2026-41579, CVE-2026-47766."""
    entry = {"mounts": [m for m in box.document("true")["mounts"] if not m["destination"].startswith("/dev")]}
    with swapping(box.rootfs / "dev", str(victim)):
        _, refusals = run(box, entry)
    assert all("/dev" in text or "dev/" in text for text in refusals), refusals


def test_proc(box: Box, victim: Path) -> None:
    """CVE-2019-19921, CVE-2023-27561: nothing is ever masked, labelled or set in something else than procfs."""
    with swapping(box.rootfs / "proc", str(victim)):
        made, refusals = run(box, {}, "cat", "/proc/self/status")
    assert made + bool(refusals)
    assert all("/proc" in text or "proc" in text for text in refusals), refusals


def test_a_masked_path(box: Box, victim: Path) -> None:
    """CVE-2025-31133: the link is followed inside of the root, where the victim is not."""
    (box.rootfs / "secret").mkdir()
    (box.rootfs / "secret" / "file").write_text("inside")
    with swapping(box.rootfs / "secret", str(victim)):
        run(box, {"linux.maskedPaths": ["/secret/file"]})


def test_the_working_directory(box: Box, victim: Path) -> None:
    """CVE-2024-21626: where the process finds itself is in the container."""
    with swapping(box.rootfs / "work", str(victim)):
        for _ in range(_ROUNDS):
            try:
                finished = box.sh("cat file 2>/dev/null; pwd; ls /proc/self/cwd/", changes={"process.cwd": "/work"})
            except ContainerError:
                continue
            assert "precious" not in finished.output
            assert "unreachable" not in finished.output
