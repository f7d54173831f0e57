"""Device rules: what a container may do with device nodes. Pure: rules in, v1 lines or a v2 program out.

Rules are applied in their order, so the last one that speaks about a device and an access decides. v1 keeps that state
in the kernel; v2 asks an eBPF program (BPF_PROG_TYPE_CGROUP_DEVICE) at each open and mknod, which is made here by
walking the rules backwards. Only container cgroups get rules; a pod's cgroup has none.
"""

from __future__ import annotations

import struct

from oci.errors import SpecError
from oci.spec import DeviceRule
from oci.values import frozen, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Final

# linux/bpf.h, BPF_DEVCG_ACC_*
_MKNOD: Final = 1
_READ: Final = 2
_WRITE: Final = 4
_ALL: Final = _READ | _WRITE | _MKNOD
_BITS: Final = {"r": _READ, "w": _WRITE, "m": _MKNOD}
_TYPES: Final = {"b": 1, "c": 2}  # BPF_DEVCG_DEV_*


def _allow(type: str, major: int | None, minor: int | None, access: str) -> DeviceRule:
    return DeviceRule(allow=True, type=type, major=major, minor=minor, access=access)


# What every container may use (runtime-spec "Default Devices", and what runc and crun agree on): any mknod, which
# gives no access to the node made; null, zero, full, tty, urandom, random, ptmx, pseudo terminals, net/tun.
DEFAULT_RULES: Final = (
    _allow("c", None, None, "m"),
    _allow("b", None, None, "m"),
    *(_allow("c", 1, minor, "rwm") for minor in (3, 5, 7, 8, 9)),
    _allow("c", 5, 0, "rwm"),
    _allow("c", 5, 1, "rwm"),
    _allow("c", 5, 2, "rwm"),
    _allow("c", 136, None, "rwm"),
    _allow("c", 10, 200, "rwm"),
)
DENY_ALL: Final = DeviceRule(allow=False, type="a", access="rwm")


@frozen
class _Rule:
    """A rule as numbers; `type` 0 and numbers None mean any."""

    allow: bool
    type: int
    major: int | None
    minor: int | None
    access: int

    @property
    def everything(self) -> bool:
        return self.type == 0 and self.major is None and self.minor is None and self.access == _ALL


def effective(rules: Sequence[DeviceRule]) -> tuple[DeviceRule, ...]:
    """The rules of a container whose config.json has `rules`: denied is what no rule allows, then the defaults."""
    if not rules:
        return ()
    return (DENY_ALL, *rules, *DEFAULT_RULES)


def v1_lines(rules: Sequence[DeviceRule]) -> tuple[tuple[str, str], ...]:
    """(file, line) writes for the devices controller."""
    lines = []
    for rule in _simplify(rules):
        file = "devices.allow" if rule.allow else "devices.deny"
        if rule.everything:
            lines.append((file, "a"))
            continue
        # "a" with numbers or less than rwm would still mean everything to the kernel.
        for letter, number in _TYPES.items():
            if rule.type in (0, number):
                access = "".join(letter for letter, bit in _BITS.items() if rule.access & bit)
                major, minor = ("*" if value is None else str(value) for value in (rule.major, rule.minor))
                lines.append((file, f"{letter} {major}:{minor} {access}"))
    return tuple(lines)


def v2_program(rules: Sequence[DeviceRule]) -> bytes | None:
    """An eBPF program that answers 1 (allow) or 0; None when nothing is restricted."""
    simple = _simplify(rules)
    if not simple or (len(simple) == 1 and simple[0].everything and simple[0].allow):
        return None
    code = [_PROLOGUE]
    for rule in reversed(simple):
        code.append(_match(rule))
        if rule.everything:
            break
    else:
        code.append(_verdict(allow=False))
    return b"".join(code)


def _simplify(rules: Sequence[DeviceRule]) -> list[_Rule]:
    """Without the rules that a later rule about everything makes void, and without allowing what is allowed anyway."""
    simple: list[_Rule] = []
    for rule in map(_parse, rules):
        if rule.everything:
            simple = [rule]
        elif not (rule.allow and len(simple) == 1 and simple[0].everything and simple[0].allow):
            simple.append(rule)
    return simple


def _parse(rule: DeviceRule) -> _Rule:
    kind = rule.type or "a"
    if kind == "u":  # unbuffered character devices are character devices
        rule = replace(rule, type="c")
        kind = "c"
    if kind != "a" and kind not in _TYPES:
        raise SpecError("linux.resources.devices.type", f"{kind!r} is none of a, b, c")
    access = _ALL if rule.access is None else 0
    for letter in rule.access or "":
        if letter not in _BITS:
            raise SpecError("linux.resources.devices.access", f"{letter!r} is none of r, w, m")
        access |= _BITS[letter]
    if access == 0:
        raise SpecError("linux.resources.devices.access", "is empty")
    return _Rule(
        allow=rule.allow,
        type=_TYPES.get(kind, 0),
        major=_number(rule.major),
        minor=_number(rule.minor),
        access=access,
    )


def _number(value: int | None) -> int | None:
    """-1 is the other way to say any."""
    if value is None or value == -1:
        return None
    if not 0 <= value < 1 << 32:
        raise SpecError("linux.resources.devices", f"{value} is no device number")
    return value


# --- the program --------------------------------------------------------------------------------------------------
# Registers: r1 the context, later scratch; r2 type, r3 minor, r4 the accesses still to be judged, r5 major.

_LOAD, _MOV, _MOV32_K, _AND32_K, _RSH32_K = 0x61, 0xBF, 0xB4, 0x54, 0x74
_JEQ32_K, _JNE32_K, _EXIT = 0x16, 0x56, 0x95


def _insn(code: int, target: int = 0, source: int = 0, offset: int = 0, value: int = 0) -> bytes:
    return struct.pack("<BBhI", code, target | source << 4, offset, value & 0xFFFF_FFFF)


def _verdict(*, allow: bool) -> bytes:
    return _insn(_MOV32_K, 0, value=int(allow)) + _insn(_EXIT)


# struct bpf_cgroup_dev_ctx: u32 access_type (access << 16 | type), u32 major, u32 minor.
_PROLOGUE: Final = b"".join(
    (
        _insn(_LOAD, 2, 1, 0),
        _insn(_MOV, 4, 2),
        _insn(_RSH32_K, 4, value=16),
        _insn(_AND32_K, 2, value=0xFFFF),
        _insn(_LOAD, 5, 1, 4),
        _insn(_LOAD, 3, 1, 8),
    )
)


def _match(rule: _Rule) -> bytes:
    """Decide when the rule settles the request, else fall through, for an allow rule without the accesses it grants."""
    if rule.access == _ALL:
        body = _verdict(allow=rule.allow)
    elif rule.allow:
        verdict = _verdict(allow=True)
        body = _insn(_AND32_K, 4, value=~rule.access) + _insn(_JNE32_K, 4, offset=len(verdict) // 8) + verdict
    else:
        verdict = _verdict(allow=False)
        body = _insn(_MOV, 1, 4) + _insn(_AND32_K, 1, value=rule.access)
        body += _insn(_JEQ32_K, 1, offset=len(verdict) // 8) + verdict
    return b"".join(_skip_unless(rule, len(body) // 8)) + body


def _skip_unless(rule: _Rule, length: int) -> Iterator[bytes]:
    wanted = [(2, rule.type or None), (5, rule.major), (3, rule.minor)]
    tests = [(register, value) for register, value in wanted if value is not None]
    for index, (register, value) in enumerate(tests):
        yield _insn(_JNE32_K, register, offset=length + len(tests) - index - 1, value=value)
