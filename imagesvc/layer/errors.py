"""What is wrong with a layer's bytes. Both are the image's fault, and the pull names them (CorruptContent)."""

from __future__ import annotations

import os


class CorruptLayer(ValueError):
    """The stream is no whole, honest layer; the text names the entry where one is to blame."""


class CorruptEntry(CorruptLayer):
    def __init__(self, name: bytes, problem: str) -> None:
        shown = os.fsdecode(name[:256]).encode(errors="backslashreplace").decode()
        super().__init__(f"entry {shown!r}: {problem}")
        self.name = name
        self.problem = problem
