"""A fresh, journaled ext4 in a loop device: where the runtimes under test keep their state.

A benchmark on the machine's own file system would measure its age, its options and what else writes to it.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def loop_disk(directory: Path, *, gibibytes: int = 16) -> Iterator[Path]:
    """The mount point of a new file system of that size (sparse); unmounted and removed after the block."""
    directory.mkdir(parents=True, exist_ok=True)
    image, mount_point = directory / "disk.ext4", directory / "disk"
    mount_point.mkdir(exist_ok=True)
    with image.open("wb") as file:
        os.truncate(file.fileno(), gibibytes << 30)
    # No lazy initialisation: its writes would run during the measurement.
    options = "lazy_itable_init=0,lazy_journal_init=0"
    subprocess.run(["mkfs.ext4", "-q", "-E", options, str(image)], check=True)
    subprocess.run(["mount", "-o", "loop", str(image), str(mount_point)], check=True)
    try:
        yield mount_point
    finally:
        subprocess.run(["umount", str(mount_point)], check=True)
        image.unlink()
        mount_point.rmdir()


def unmount_below(directory: Path) -> None:
    """Detaches every mount below `directory`: for what a program that was killed left there."""
    prefix = f"{directory}/"
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for point in sorted((point for point in points if point.startswith(prefix)), reverse=True):
        subprocess.run(["umount", "--lazy", point], check=False, capture_output=True)
