"""The pause image of peers that need one: a program that sleeps for ever, written here as machine code.

Coracle has no pause container. The peers' own pause program is a few kilobytes of C; this one is smaller still, so a
comparison of memory per pod never suffers from it.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Final

from deploy.image import Image, ImageConfig, Layer, LayerBuilder, Platform

# A loop around pause(2) on x86-64; around ppoll(2) with no descriptors and no timeout on arm64, which has no pause(2).
_CODE: Final = {
    "amd64": (62, bytes.fromhex("b8220000000f05ebf7")),
    "arm64": (
        183,
        struct.pack(
            "<8I",
            0xD2800000,  # mov x0, #0
            0xD2800001,  # mov x1, #0
            0xD2800002,  # mov x2, #0
            0xD2800003,  # mov x3, #0
            0xD2800004,  # mov x4, #0
            0xD2800928,  # mov x8, #73
            0xD4000001,  # svc #0
            0x17FFFFF9,  # b to the first instruction
        ),
    ),
}
_BASE: Final = 0x400000
_HEADERS: Final = 64 + 56


def pause_program(architecture: str) -> bytes:
    return executable(*_CODE[architecture])


def executable(machine: int, code: bytes) -> bytes:
    """A complete ELF executable with one segment, for a machine of elf.h."""
    size = _HEADERS + len(code)
    identity = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    header = identity + struct.pack("<HHIQQQIHHHHHH", 2, machine, 1, _BASE + _HEADERS, 64, 0, 0, 64, 56, 1, 64, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, _BASE, _BASE, size, size, 0x1000)
    return header + segment + code


def pause_layer(directory: Path) -> Layer:
    with LayerBuilder(directory) as layer:
        layer.file("pause", pause_program(Platform.here().architecture), 0o755)
        return layer.finish()


def pause_image(layer: Layer) -> Image:
    return Image(layers=[layer], config=ImageConfig(entrypoint=("/pause",)))
