"""Device rules: v1 lines, and the v2 program run on a tiny interpreter of the eBPF that it uses."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oci.cgroups.devices import DEFAULT_RULES, DENY_ALL, effective, v1_lines, v2_program
from oci.errors import SpecError
from oci.spec import DeviceRule

ALLOW_ALL = DeviceRule(allow=True, access="rwm")
BITS = {"m": 1, "r": 2, "w": 4}
TYPES = {"b": 1, "c": 2}


def allowed(program: bytes, kind: str, major: int, minor: int, access: str) -> bool:
    """What the kernel would answer to one access."""
    context = struct.pack("<III", sum(BITS[letter] for letter in access) << 16 | TYPES[kind], major, minor)
    code = list(struct.iter_unpack("<BBhI", program))
    registers = [0] * 11
    at = 0
    while True:
        operation, both, offset, value = code[at]
        target, source = both & 15, both >> 4
        at += 1
        match operation:
            case 0x61:
                assert source == 1
                (registers[target],) = struct.unpack_from("<I", context, offset)
            case 0xBF:
                registers[target] = registers[source]
            case 0xB4:
                registers[target] = value
            case 0x54:
                registers[target] &= value
            case 0x74:
                registers[target] >>= value
            case 0x16:
                at += offset if registers[target] == value else 0
            case 0x56:
                at += offset if registers[target] != value else 0
            case 0x95:
                return bool(registers[0])
            case _:
                raise AssertionError(f"unexpected operation {operation:#x}")


def judge(rules: list[DeviceRule], kind: str, major: int, minor: int, access: str) -> bool:
    """The meaning of a list of rules, said plainly: the last one that speaks about an access decides it."""
    for letter in access:
        verdict = False
        for rule in rules:
            matches = (
                rule.type in (None, "a", kind)
                and rule.major in (None, -1, major)
                and rule.minor in (None, -1, minor)
                and letter in (rule.access if rule.access is not None else "rwm")
            )
            verdict = rule.allow if matches else verdict
        if not verdict:
            return False
    return True


numbers = st.sampled_from([None, -1, 0, 1, 5, 0xFFFF_FFFF])
accesses = st.sets(st.sampled_from("rwm"), min_size=1).map(lambda letters: "".join(sorted(letters)))
rule_values = st.builds(
    DeviceRule, allow=st.booleans(), type=st.sampled_from([None, "a", "b", "c"]), major=numbers, minor=numbers,
    access=st.none() | accesses,
)  # fmt: skip
device_numbers = st.sampled_from([0, 1, 5, 7, 0xFFFF_FFFF])


@given(st.lists(rule_values, max_size=8), st.sampled_from("bc"), device_numbers, device_numbers, accesses)
def test_the_program_decides_as_the_rules_say(
    rules: list[DeviceRule], kind: str, major: int, minor: int, access: str
) -> None:
    program = v2_program(rules)
    if program is None:
        assert not rules or judge(rules, kind, major, minor, access)
    else:
        assert allowed(program, kind, major, minor, access) == judge(rules, kind, major, minor, access)


def test_a_container_may_use_the_default_devices_only() -> None:
    program = v2_program(effective([DeviceRule(allow=False, access="rwm")]))
    assert program is not None
    assert allowed(program, "c", 1, 3, "rw")  # null
    assert allowed(program, "c", 136, 9, "rw")  # a pseudo terminal
    assert allowed(program, "b", 8, 0, "m")
    assert not allowed(program, "b", 8, 0, "r")
    assert not allowed(program, "c", 1, 1, "r")  # mem
    assert not allowed(program, "c", 10, 229, "rw")  # fuse


def test_a_privileged_container_has_no_program_and_one_line() -> None:
    rules = effective([ALLOW_ALL])
    assert v2_program(rules) is None
    assert v1_lines(rules) == (("devices.allow", "a"),)


def test_no_rules_leave_devices_alone() -> None:
    assert effective(()) == ()
    assert v1_lines(()) == ()
    assert v2_program(()) is None


def test_v1_lines_keep_the_order() -> None:
    rules = [DENY_ALL, DeviceRule(allow=True, type="c", major=10, minor=229, access="rw"), *DEFAULT_RULES[:1]]
    assert v1_lines(rules) == (
        ("devices.deny", "a"),
        ("devices.allow", "c 10:229 rw"),
        ("devices.allow", "c *:* m"),
    )


def test_v1_says_all_devices_with_less_than_all_access_as_two_lines() -> None:
    """To the kernel "a" means everything, whatever follows it."""
    assert v1_lines([DENY_ALL, DeviceRule(allow=True, type="a", access="r")])[1:] == (
        ("devices.allow", "b *:* r"),
        ("devices.allow", "c *:* r"),
    )


@pytest.mark.parametrize(
    "rule",
    [
        DeviceRule(allow=True, type="x"),
        DeviceRule(allow=True, type="c", access="rx"),
        DeviceRule(allow=True, type="c", access=""),
        DeviceRule(allow=True, type="c", major=1 << 32),
        DeviceRule(allow=True, type="c", minor=-2),
    ],
)
def test_bad_rules_are_refused(rule: DeviceRule) -> None:
    with pytest.raises(SpecError, match=r"linux\.resources\.devices"):
        v1_lines([rule])
    with pytest.raises(SpecError, match=r"linux\.resources\.devices"):
        v2_program([rule])
