"""Which shared libraries an ELF program names: the PT_INTERP and DT_NEEDED entries, read without running it.

`ldd` would run the program's loader and look at this machine's libraries; an image needs those of its own packages.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

_PT_LOAD: Final = 1
_PT_DYNAMIC: Final = 2
_PT_INTERP: Final = 3
_DT_NEEDED: Final = 1
_DT_STRTAB: Final = 5


class NotElf(Exception):
    def __init__(self, path: Path) -> None:
        super().__init__(f"{path} is not a little-endian 64-bit ELF file")
        self.path = path


class Linkage(NamedTuple):
    interpreter: str
    """The loader's path, empty for a static program."""
    needed: tuple[str, ...]


class _Segment(NamedTuple):
    kind: int
    offset: int
    address: int
    size: int


def linkage(path: Path) -> Linkage:
    data = path.read_bytes()
    if data[:6] != b"\x7fELF\x02\x01":
        raise NotElf(path)
    table, entry_size, count = struct.unpack_from("<Q", data, 32)[0], *struct.unpack_from("<HH", data, 54)
    segments = [_segment(data, table + position * entry_size) for position in range(count)]
    interpreter = ""
    entries: list[tuple[int, int]] = []
    for segment in segments:
        content = data[segment.offset : segment.offset + segment.size]
        if segment.kind == _PT_INTERP:
            interpreter = content.rstrip(b"\0").decode()
        elif segment.kind == _PT_DYNAMIC:
            entries = list(struct.iter_unpack("<QQ", content[: len(content) // 16 * 16]))
    strings = next((_to_offset(value, segments) for tag, value in entries if tag == _DT_STRTAB), 0)
    needed = tuple(_text(data, strings + value) for tag, value in entries if tag == _DT_NEEDED)
    return Linkage(interpreter, needed)


def closure(programs: Sequence[Path], roots: Sequence[Path]) -> tuple[str, dict[str, Path]]:
    """The loader's path and, by name, the file below `roots` of every library that `programs` need."""
    files = {path.name: path for root in reversed(roots) for path in sorted(root.rglob("*.so*")) if path.is_file()}
    interpreter = ""
    found: dict[str, Path] = {}
    waiting = list(programs)
    while waiting:
        links = linkage(waiting.pop())
        interpreter = interpreter or links.interpreter
        for name in links.needed:
            if name in found:
                continue
            if name not in files:
                raise FileNotFoundError(f"no package has the library {name}")
            found[name] = files[name]
            waiting.append(files[name])
    return interpreter, found


def _segment(data: bytes, at: int) -> _Segment:
    kind, _, offset, address, _, size = struct.unpack_from("<IIQQQQ", data, at)
    return _Segment(kind, offset, address, size)


def _to_offset(address: int, segments: Sequence[_Segment]) -> int:
    for segment in segments:
        if segment.kind == _PT_LOAD and segment.address <= address < segment.address + segment.size:
            return address - segment.address + segment.offset
    return address


def _text(data: bytes, at: int) -> str:
    return data[at : data.index(b"\0", at)].decode()
