"""A reference evaluator for seccomp programs, as plain as the manual: what the kernel would answer for one call."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import lru_cache


@lru_cache(maxsize=8)
def _decode(program: bytes) -> list[tuple[int, int, int, int]]:
    return [(code, true, false, k) for code, true, false, k in struct.iter_unpack("=HBBI", program)]


def evaluate(program: bytes, number: int, arch: int, args: Sequence[int] = ()) -> int:
    padded = (*args, 0, 0, 0, 0, 0, 0)[:6]
    data = struct.pack("<IIQ6Q", number % (1 << 32), arch, 0, *(value % (1 << 64) for value in padded))
    code = _decode(program)
    accumulator, at = 0, 0
    while True:
        operation, jump_true, jump_false, k = code[at]
        at += 1
        if operation == 0x20:  # BPF_LD | BPF_W | BPF_ABS
            assert k % 4 == 0
            (accumulator,) = struct.unpack_from("<I", data, k)
        elif operation == 0x54:  # BPF_ALU | BPF_AND | BPF_K
            accumulator &= k
        elif operation == 0x05:  # BPF_JMP | BPF_JA
            at += k
        elif operation in (0x15, 0x25, 0x35, 0x45):  # JEQ, JGT, JGE, JSET
            holds = {
                0x15: accumulator == k,
                0x25: accumulator > k,
                0x35: accumulator >= k,
                0x45: bool(accumulator & k),
            }[operation]
            at += jump_true if holds else jump_false
        elif operation == 0x06:  # BPF_RET | BPF_K
            return int(k)
        else:
            raise AssertionError(f"instruction {at - 1} has unknown code {operation:#x}")
