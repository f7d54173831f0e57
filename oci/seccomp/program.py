"""Generates seccomp programs: tables of numbers and rules in, classic BPF out. Pure.

libseccomp could do this too, but up to and including 2.6.0 its merging of 64-bit comparisons can weaken a filter
(GHSA-4q85-33p6-j5g6), and the hosts we run on have such versions. Here nothing is merged: each rule is compiled alone,
in order, and the tests run the result against a reference evaluator and against libseccomp itself. It is also eight
times quicker to make; a system call's number is found by bisection.

Shape of a program, for each architecture that the kernel may report:

    arch == A ?  ── number >= n/2 ? ── ... ── ret ACTION
        │                                └─── arguments of rule 1 match ? ret ACTION 1 : rule 2 ... ret DEFAULT
        └─ next architecture ... ── ret KILL
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import Enum

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Final, TypeAlias

NUMBER_END: Final = 1 << 32

# linux/bpf_common.h
_LD_W_ABS: Final = 0x20
_AND_K: Final = 0x54
_JA: Final = 0x05
_JEQ: Final = 0x15
_JGT: Final = 0x25
_JGE: Final = 0x35
_RET: Final = 0x06

# struct seccomp_data: int nr; u32 arch; u64 instruction_pointer; u64 args[6]
_NR: Final = 0
_ARCH: Final = 4
_ARGS: Final = 16
_LONGEST_JUMP: Final = 255


class Op(Enum):
    NE = "SCMP_CMP_NE"
    LT = "SCMP_CMP_LT"
    LE = "SCMP_CMP_LE"
    EQ = "SCMP_CMP_EQ"
    GE = "SCMP_CMP_GE"
    GT = "SCMP_CMP_GT"
    MASKED_EQ = "SCMP_CMP_MASKED_EQ"


@dataclass(frozen=True, slots=True)
class Comparison:
    """argument[index] `op` value; for MASKED_EQ, argument[index] & mask == value. 64 bits, or 32 when not `wide`."""

    index: int
    op: Op
    value: int
    mask: int = NUMBER_END * NUMBER_END - 1
    wide: bool = True


@dataclass(frozen=True, slots=True)
class Rule:
    """Return `action` when all comparisons hold."""

    action: int
    comparisons: tuple[Comparison, ...]


# What to do with a number: an action, or rules asked in order (the last without comparisons).
Outcome: TypeAlias = int | tuple[Rule, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """All numbers of one AUDIT_ARCH value: `listed` ones, and else what the last start in `background` says."""

    audit_arch: int
    listed: Mapping[int, Outcome]
    background: Sequence[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class _Insn:
    code: int
    k: int
    jt: int = 0
    jf: int = 0


def build(tables: Sequence[Table], other_architecture: int) -> bytes:
    """The program, eight bytes an instruction; `other_architecture` is the action where no table fits."""
    code = [_Insn(_LD_W_ABS, _ARCH)]
    for table in tables:
        body = [_Insn(_LD_W_ABS, _NR), *_bisect(_intervals(table))]
        code += [_Insn(_JEQ, table.audit_arch, jt=1), _Insn(_JA, len(body)), *body]
    code.append(_Insn(_RET, other_architecture))
    return b"".join(struct.pack("=HBBI", insn.code, insn.jt, insn.jf, insn.k) for insn in code)


def _intervals(table: Table) -> list[tuple[int, Outcome]]:
    """The number line as (start, outcome), starting at 0, neighbours different."""
    starts = sorted(table.background)
    points: dict[int, Outcome] = dict(starts)
    for number in table.listed:
        following = number + 1
        if following < NUMBER_END and following not in table.listed and following not in points:
            points[following] = next(action for start, action in reversed(starts) if start <= following)
    points.update(table.listed)
    intervals: list[tuple[int, Outcome]] = []
    for start in sorted(points):
        if not intervals or intervals[-1][1] != points[start]:
            intervals.append((start, points[start]))
    return intervals


def _bisect(intervals: Sequence[tuple[int, Outcome]]) -> list[_Insn]:
    """Expects the number in the accumulator."""
    if len(intervals) == 1:
        return _outcome(intervals[0][1])
    middle = len(intervals) // 2
    below, above = _bisect(intervals[:middle]), _bisect(intervals[middle:])
    start = intervals[middle][0]
    if len(below) <= _LONGEST_JUMP:
        return [_Insn(_JGE, start, jt=len(below)), *below, *above]
    return [_Insn(_JGE, start, jf=1), _Insn(_JA, len(below)), *below, *above]


def _outcome(outcome: Outcome) -> list[_Insn]:
    if isinstance(outcome, int):
        return [_Insn(_RET, outcome)]
    return [insn for rule in outcome for insn in _rule(rule)]


class _To(Enum):
    """Where a jump of a comparison leads."""

    NEXT = 0
    HOLDS = 1
    FAILS = 2


_Step: TypeAlias = tuple[int, int, _To, _To]  # code, k, when true, when false
_N, _H, _F = _To.NEXT, _To.HOLDS, _To.FAILS


def _rule(rule: Rule) -> list[_Insn]:
    parts = [_compare(comparison) for comparison in rule.comparisons]
    length = sum(map(len, parts)) + 1  # the return that ends it
    code: list[_Insn] = []
    for part in parts:
        holds = len(code) + len(part)
        for step, k, true, false in part:
            here = len(code) + 1
            target = {_To.NEXT: 0, _To.HOLDS: holds - here, _To.FAILS: length - here}
            code.append(_Insn(step, k, target[true], target[false]))
    return [*code, _Insn(_RET, rule.action)]


def _compare(comparison: Comparison) -> list[_Step]:
    """The accumulator has 32 bits, so an argument is two loads; the machine is little endian on all we support."""
    low_at = _ARGS + 8 * comparison.index
    low, high = comparison.value % NUMBER_END, comparison.value // NUMBER_END
    mask_low, mask_high = comparison.mask % NUMBER_END, comparison.mask // NUMBER_END
    decide_low = [(_LD_W_ABS, low_at, _N, _N), *_compare_word(comparison.op, low, mask_low)]
    if not comparison.wide:
        return decide_low
    load_high = (_LD_W_ABS, low_at + 4, _N, _N)
    match comparison.op:
        case Op.EQ:
            return [load_high, (_JEQ, high, _N, _F), *decide_low]
        case Op.MASKED_EQ:
            return [load_high, (_AND_K, mask_high, _N, _N), (_JEQ, high & mask_high, _N, _F), *decide_low]
        case Op.NE:
            return [load_high, (_JEQ, high, _N, _H), *decide_low]
        case Op.GT | Op.GE:
            return [load_high, (_JGT, high, _H, _N), (_JEQ, high, _N, _F), *decide_low]
        case Op.LT | Op.LE:
            return [load_high, (_JGT, high, _F, _N), (_JEQ, high, _N, _H), *decide_low]


def _compare_word(op: Op, value: int, mask: int) -> list[_Step]:
    """The word in the accumulator; the last of the comparison, so "holds" is to fall out of it."""
    match op:
        case Op.EQ:
            return [(_JEQ, value, _H, _F)]
        case Op.MASKED_EQ:
            return [(_AND_K, mask, _N, _N), (_JEQ, value & mask, _H, _F)]
        case Op.NE:
            return [(_JEQ, value, _F, _H)]
        case Op.GT:
            return [(_JGT, value, _H, _F)]
        case Op.GE:
            return [(_JGE, value, _H, _F)]
        case Op.LT:
            return [(_JGE, value, _F, _H)]
        case Op.LE:
            return [(_JGT, value, _F, _H)]
