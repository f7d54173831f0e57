"""Directories that change, appear, go and come back."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path

from cni.watch import DirectoryWatch


class Ears:
    def __init__(self, *paths: Path) -> None:
        self._heard = asyncio.Event()
        self.watch = DirectoryWatch([str(path) for path in paths], self._heard.set)
        self.watch.start()

    async def hear(self) -> None:
        await asyncio.wait_for(self._heard.wait(), 20)
        self._heard.clear()


async def test_files_written_moved_and_deleted(tmp_path: Path) -> None:
    ears = Ears(tmp_path)
    file, other = tmp_path / "a", tmp_path / "b"
    for act in (lambda: file.write_text("x"), lambda: os.replace(file, other), other.unlink):
        act()
        await ears.hear()
    ears.watch.close()


async def test_a_directory_that_does_not_exist_yet(tmp_path: Path) -> None:
    wanted = tmp_path / "etc" / "cni" / "net.d"
    ears = Ears(wanted, tmp_path / "bin")
    wanted.mkdir(parents=True)
    await ears.hear()
    (wanted / "a").touch()
    await ears.hear()
    shutil.rmtree(tmp_path / "etc")
    await ears.hear()
    wanted.mkdir(parents=True)
    await ears.hear()
    (wanted / "b").touch()
    await ears.hear()
    ears.watch.close()


async def test_closing_twice_and_early(tmp_path: Path) -> None:
    ears = Ears(tmp_path)
    ears.watch.close()
    ears.watch.close()
    DirectoryWatch([str(tmp_path)], lambda: None).close()
