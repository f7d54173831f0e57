"""The node's files, below a root that is / but in tests. A file that cannot be read is None: most may be missing."""

from __future__ import annotations

import os
from pathlib import Path


class Node:
    def __init__(self, root: Path = Path("/")) -> None:
        self.root = root

    def path(self, name: str | Path) -> Path:
        """`name` is absolute, as on the node."""
        return self.root / str(name).lstrip("/")

    def read(self, name: str | Path) -> str | None:
        try:
            return self.path(name).read_text(errors="replace")
        except OSError:
            return None

    def line(self, name: str | Path) -> str | None:
        """The content of a file of one line."""
        text = self.read(name)
        return None if text is None else text.strip()

    def number(self, name: str | Path) -> int | None:
        text = self.line(name)
        return int(text) if text is not None and text.lstrip("-").isdigit() else None

    def names(self, directory: str | Path) -> tuple[str, ...]:
        try:
            return tuple(sorted(os.listdir(self.path(directory))))
        except OSError:
            return ()

    def exists(self, name: str | Path) -> bool:
        return self.path(name).exists()
