"""A root for image services without a daemon, and what to look at on it."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from imagesvc.service import ImageService, ImageSettings
from tests import descriptors


def migrate(database: sqlite3.Connection, area: str, scripts: Sequence[str]) -> None:
    database.execute("CREATE TABLE IF NOT EXISTS schema (area TEXT PRIMARY KEY, version INTEGER)")
    if not database.execute("SELECT 1 FROM schema WHERE area = ?", (area,)).fetchone():
        for script in scripts:
            database.executescript(script)
        database.execute("INSERT INTO schema VALUES (?, ?)", (area, len(scripts)))


@dataclass
class Node:
    """One node's root; services come and go on it."""

    path: Path
    form: str
    settings: dict[str, Any] = field(default_factory=dict)

    @asynccontextmanager
    async def service(self) -> AsyncIterator[ImageService]:
        database = sqlite3.connect(self.path / "state.db", isolation_level=None)
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA foreign_keys=ON")
        settings = ImageSettings(
            root=self.path / "root",
            runroot=self.path / "run",
            layer_format=self.form,
            pull_progress_timeout=1.5,
            **self.settings,
        )
        try:
            service = await ImageService.open(settings, database, migrate=migrate)
            try:
                yield service
            finally:
                await service.close()
        finally:
            database.close()

    def files(self) -> list[str]:
        """What layers and pulls have on the disk."""
        top = self.path / "root"
        found = [str(entry.relative_to(top)) for name in ("layers", "staging") for entry in (top / name).iterdir()]
        return sorted(name for name in found if not name.startswith("layers/empty"))

    def rows(self) -> dict[str, int]:
        database = sqlite3.connect(self.path / "state.db")
        tables = ("images", "image_names", "layers", "image_layers", "layer_uses")
        counts = {table: database.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables}
        database.close()
        return counts

    def is_clean(self) -> None:
        assert self.files() == []
        assert set(self.rows().values()) == {0}


def open_files() -> list[str]:
    """All descriptors but sockets: the registry in this process has those."""
    links = [each.split(" ", 1)[1] for each in descriptors.open_files()]
    return sorted(link for link in links if not link.startswith("socket:"))


def tree(fd: int) -> dict[str, str]:
    """Files of a mount with their contents, directories with their modes."""
    top = f"/proc/self/fd/{fd}"
    found = {}
    for directory, _, names in os.walk(top):
        relative = os.path.relpath(directory, top)
        found[relative] = oct(stat.S_IMODE(os.stat(directory).st_mode))
        for name in names:
            found[os.path.normpath(os.path.join(relative, name))] = Path(directory, name).read_text()[:20]
    return found


def write(fd: int) -> None:
    Path(f"/proc/self/fd/{fd}/new").write_text("written")
