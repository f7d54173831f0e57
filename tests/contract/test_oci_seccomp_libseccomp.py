"""Our programs against libseccomp's: the same answer to every call, for the default profile and for drawn ones.

Left out of the comparison: calls that our tables know and an older libseccomp does not, the ENOSYS of calls newer than
the profile (libseccomp has no such thing), and overlapping rules with different actions (libseccomp: undefined).
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oci.seccomp import compile_filter, default_profile
from oci.seccomp.names import family
from oci.spec import Seccomp, SeccompArg, SeccompSyscall
from tests.bpf import evaluate

ALLOW, EPERM, ENOSYS = 0x7FFF_0000, 0x5_0001, 0x5_0026
OPERATORS = ["SCMP_CMP_NE", "SCMP_CMP_LT", "SCMP_CMP_LE", "SCMP_CMP_EQ", "SCMP_CMP_GE", "SCMP_CMP_GT",
             "SCMP_CMP_MASKED_EQ"]  # fmt: skip


class _Compare(ctypes.Structure):
    _fields_ = [
        ("index", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64),
    ]  # fmt: skip


@pytest.fixture(scope="module")
def library() -> ctypes.CDLL:
    try:
        found = ctypes.CDLL("libseccomp.so.2")
    except OSError:
        pytest.skip("libseccomp is not installed")
    found.seccomp_init.restype = ctypes.c_void_p
    found.seccomp_init.argtypes = [ctypes.c_uint32]
    found.seccomp_arch_add.argtypes = [ctypes.c_void_p, ctypes.c_uint32]
    found.seccomp_rule_add_array.argtypes = [
        ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int, ctypes.c_uint, ctypes.c_void_p,
    ]  # fmt: skip
    found.seccomp_export_bpf.argtypes = [ctypes.c_void_p, ctypes.c_int]
    found.seccomp_release.argtypes = [ctypes.c_void_p]
    return found


def reference(library: ctypes.CDLL, profile: Seccomp) -> bytes:
    """The program that libseccomp makes of a profile with EPERM as default; ENOSYS and ALLOW as actions."""
    context = library.seccomp_init(EPERM)
    for architecture in family()[1:]:
        if architecture.name in profile.architectures:
            assert library.seccomp_arch_add(context, architecture.token) == 0
    for rule in profile.syscalls:
        action = ALLOW if rule.action == "SCMP_ACT_ALLOW" else ENOSYS
        compares = [
            _Compare(each.index, OPERATORS.index(each.op) + 1, each.value, each.value_two) for each in rule.args
        ]
        array = (_Compare * max(1, len(compares)))(*compares)
        for name in rule.names:
            number = library.seccomp_syscall_resolve_name(name.encode())
            if number != -1:
                result = library.seccomp_rule_add_array(context, action, number, len(compares), ctypes.byref(array))
                assert result in (0, -17)  # -EEXIST: said already
    memory = os.memfd_create("bpf")
    assert library.seccomp_export_bpf(context, memory) == 0
    library.seccomp_release(context)
    program = os.pread(memory, 1 << 20, 0)
    os.close(memory)
    return program


def known(library: ctypes.CDLL, profile: Seccomp) -> Seccomp:
    """The profile without the names that this libseccomp does not know."""
    rules = []
    for rule in profile.syscalls:
        names = tuple(name for name in rule.names if library.seccomp_syscall_resolve_name(name.encode()) != -1)
        rules.append(SeccompSyscall(names=names, action=rule.action, errno_ret=rule.errno_ret, args=rule.args))
    return Seccomp(
        default_action=profile.default_action, default_errno_ret=profile.default_errno_ret,
        architectures=profile.architectures, syscalls=tuple(rules),
    )  # fmt: skip


@pytest.mark.parametrize("capabilities", [frozenset[str](), frozenset(("CAP_SYS_ADMIN", "CAP_SYS_CHROOT"))])
def test_the_default_profile(library: ctypes.CDLL, capabilities: frozenset[str]) -> None:
    profile = known(library, default_profile(capabilities))
    ours, theirs = compile_filter(profile), reference(library, profile)
    argument_values = (0, 1, 8, 38, 39, 40, 41, 0x2_0008, 0x1000_0000, 0x7E02_0000, (1 << 32) - 1, (1 << 32) + 39)
    for architecture in family():
        for number in range(architecture.first, architecture.first + 480):
            for value in argument_values:
                mine = evaluate(ours, number, architecture.audit_arch, (value,))
                other = evaluate(theirs, number, architecture.audit_arch, (value,))
                newer = mine == ENOSYS and other == EPERM and number - architecture.first > 440
                assert mine == other or newer, (architecture.name, number, value)


edges = st.sampled_from([0, 1, 5, 0x8000_0000, 0xFFFF_FFFF, 1 << 32, (1 << 32) + 5, (7 << 32) + 1, (1 << 64) - 1])
# Equality alone: with the other operators two rules on one argument may meet the library's merging bug.
arguments = st.builds(SeccompArg, index=st.integers(0, 2), value=edges, op=st.just("SCMP_CMP_EQ"))
distinct = st.lists(arguments, max_size=3, unique_by=lambda argument: argument.index).map(tuple)
any_operator = st.builds(
    SeccompArg, index=st.integers(0, 2), value=edges, value_two=st.just(0), op=st.sampled_from(OPERATORS)
)


@settings(deadline=None, max_examples=60)
@given(
    rules=st.lists(distinct, min_size=1, max_size=4),
    calls=st.lists(st.tuples(edges, edges, edges), min_size=5, max_size=10),
)
def test_several_rules_for_one_call(
    library: ctypes.CDLL, rules: Sequence[tuple[SeccompArg, ...]], calls: Sequence[tuple[int, int, int]]
) -> None:
    compare(library, rules, calls)


@settings(deadline=None, max_examples=60)
@given(
    rule=st.lists(any_operator, max_size=3, unique_by=lambda argument: argument.index).map(tuple),
    calls=st.lists(st.tuples(edges, edges, edges), min_size=5, max_size=10),
)
def test_one_rule_with_any_operators(
    library: ctypes.CDLL, rule: tuple[SeccompArg, ...], calls: Sequence[tuple[int, int, int]]
) -> None:
    compare(library, [rule], calls)


def compare(
    library: ctypes.CDLL, rules: Sequence[tuple[SeccompArg, ...]], calls: Sequence[tuple[int, int, int]]
) -> None:
    profile = Seccomp(
        default_action="SCMP_ACT_ERRNO",
        architectures=tuple(architecture.name for architecture in family()),
        syscalls=tuple(SeccompSyscall(names=("read",), action="SCMP_ACT_ALLOW", args=rule) for rule in rules),
    )
    ours, theirs = compile_filter(profile), reference(library, profile)
    for architecture in family():
        number = library.seccomp_syscall_resolve_name_arch(ctypes.c_uint32(architecture.token), b"read")
        for call in calls:
            mine = evaluate(ours, number, architecture.audit_arch, call)
            assert mine == evaluate(theirs, number, architecture.audit_arch, call), (architecture.name, call)
