"""Profiles as programs, run on the reference evaluator: what the kernel would answer to each call."""

from __future__ import annotations

import errno
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oci.errors import SeccompError
from oci.seccomp import FilterCache, compile_filter, default_profile, installation_flags
from oci.seccomp import names as numbers
from oci.seccomp.names import Architecture, resolve
from oci.seccomp.program import Comparison, Op, Rule, Table, build
from oci.spec import Seccomp, SeccompArg, SeccompSyscall
from tests.bpf import evaluate

NATIVE = numbers.family()[0]
OTHERS = numbers.family()[1:]
ALLOW, EPERM, ENOSYS, KILL = 0x7FFF_0000, 0x5_0000 | errno.EPERM, 0x5_0000 | errno.ENOSYS, 0
NO_CAPABILITIES: frozenset[str] = frozenset()


def number(name: str, architecture: Architecture = NATIVE) -> int:
    found = resolve(architecture, name).direct
    assert found is not None, name
    return found


def ask(profile: Seccomp, name: str, *args: int, architecture: Architecture = NATIVE) -> int:
    return evaluate(compile_filter(profile), number(name, architecture), architecture.audit_arch, args)


def rule(*names: str, action: str = "SCMP_ACT_ALLOW", errno_ret: int | None = None, **condition: Any) -> SeccompSyscall:
    args = (SeccompArg(**condition),) if condition else ()
    return SeccompSyscall(names=names, action=action, errno_ret=errno_ret, args=args)


def profile(*rules: SeccompSyscall, default: str = "SCMP_ACT_ERRNO", **more: Any) -> Seccomp:
    return Seccomp(default_action=default, syscalls=rules, **more)


# --- the default profile ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["read", "openat", "execve", "futex", "close_range", "fchmodat2", "statx", "seccomp"])
def test_ordinary_calls_are_allowed(name: str) -> None:
    for architecture in numbers.family():
        assert ask(default_profile(NO_CAPABILITIES), name, architecture=architecture) == ALLOW


@pytest.mark.parametrize(
    ("name", "capability"),
    [
        ("unshare", "CAP_SYS_ADMIN"), ("mount", "CAP_SYS_ADMIN"), ("setns", "CAP_SYS_ADMIN"), ("bpf", "CAP_BPF"),
        ("perf_event_open", "CAP_PERFMON"), ("reboot", "CAP_SYS_BOOT"), ("chroot", "CAP_SYS_CHROOT"),
        ("init_module", "CAP_SYS_MODULE"), ("kcmp", "CAP_SYS_PTRACE"), ("mbind", "CAP_SYS_NICE"),
        ("open_by_handle_at", "CAP_DAC_READ_SEARCH"), ("syslog", "CAP_SYSLOG"), ("settimeofday", "CAP_SYS_TIME"),
    ],
)  # fmt: skip
def test_a_capability_opens_its_calls(name: str, capability: str) -> None:
    assert ask(default_profile(NO_CAPABILITIES), name) == EPERM
    assert ask(default_profile(frozenset((capability,))), name) == ALLOW


@pytest.mark.parametrize("name", ["kexec_load", "add_key", "keyctl", "userfaultfd", "io_uring_setup", "swapon"])
def test_some_calls_no_capability_opens(name: str) -> None:
    assert ask(default_profile(frozenset(("CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_MODULE"))), name) == EPERM


def test_new_namespaces_need_the_capability() -> None:
    confined = default_profile(NO_CAPABILITIES)
    assert ask(confined, "clone", 0x003D_0F00) == ALLOW  # a thread
    for flag in (0x0002_0000, 0x1000_0000, 0x2000_0000, 0x4000_0000):
        assert ask(confined, "clone", flag) == EPERM
    assert ask(confined, "clone3") == ENOSYS
    free = default_profile(frozenset(("CAP_SYS_ADMIN",)))
    assert ask(free, "clone", 0x1000_0000) == ask(free, "clone3") == ALLOW


@pytest.mark.parametrize(
    ("family", "answer"), [(1, ALLOW), (2, ALLOW), (37, ALLOW), (38, EPERM), (39, ALLOW), (40, EPERM), (41, ALLOW)]
)
def test_socket_families(family: int, answer: int) -> None:
    assert ask(default_profile(NO_CAPABILITIES), "socket", family) == answer


@pytest.mark.parametrize(
    ("persona", "answer"),
    [(0, ALLOW), (8, ALLOW), (0x20000, ALLOW), (0x20008, ALLOW), (0xFFFF_FFFF, ALLOW), (0x40000, EPERM),
     (1 << 32, EPERM)],
)  # fmt: skip
def test_personalities(persona: int, answer: int) -> None:
    assert ask(default_profile(NO_CAPABILITIES), "personality", persona) == answer


def test_the_default_profile_has_no_name_twice_in_a_group_and_knows_all_of_them() -> None:
    for entry in default_profile(frozenset(("CAP_SYS_ADMIN", "CAP_BPF", "CAP_SYS_PTRACE"))).syscalls:
        assert len(set(entry.names)) == len(entry.names)
        assert all(name.replace("_", "").isalnum() and name.islower() for name in entry.names)


# --- architectures and unknown numbers ----------------------------------------------------------------------------


def test_calls_newer_than_the_profile_do_not_exist() -> None:
    program = compile_filter(default_profile(NO_CAPABILITIES))
    for architecture in numbers.family():
        last = number("removexattrat", architecture)
        assert evaluate(program, last, architecture.audit_arch) == ALLOW
        assert evaluate(program, last + 1, architecture.audit_arch) == ENOSYS
        assert evaluate(program, architecture.end - 1, architecture.audit_arch) == ENOSYS


def test_a_permissive_profile_lets_new_calls_pass() -> None:
    lenient = profile(rule("mount", action="SCMP_ACT_ERRNO"), default="SCMP_ACT_ALLOW")
    assert evaluate(compile_filter(lenient), 2000, NATIVE.audit_arch) == ALLOW


def test_a_call_that_a_tracer_skipped_gets_the_default() -> None:
    assert evaluate(compile_filter(default_profile(NO_CAPABILITIES)), -1, NATIVE.audit_arch) == EPERM


def test_other_architectures_are_killed_unless_listed() -> None:
    native_only = compile_filter(profile(rule("read")))
    for other in OTHERS:
        assert evaluate(native_only, number("read", other), other.audit_arch) == KILL
        listed = compile_filter(profile(rule("read"), architectures=(other.name,)))
        assert evaluate(listed, number("read", other), other.audit_arch) == ALLOW
    assert evaluate(native_only, 0, 0x1234) == KILL


def test_architectures_of_other_machines_are_passed_over_and_unknown_ones_refused() -> None:
    assert compile_filter(profile(rule("read"), architectures=("SCMP_ARCH_S390X",))) == compile_filter(
        profile(rule("read"))
    )
    with pytest.raises(SeccompError, match="SCMP_ARCH_PDP11"):
        compile_filter(profile(architectures=("SCMP_ARCH_PDP11",)))


@pytest.mark.skipif(NATIVE.name != "SCMP_ARCH_X86_64", reason="i386 is a matter of x86 machines")
def test_i386_calls_inside_socketcall() -> None:
    program = compile_filter(profile(rule("socket"), architectures=("SCMP_ARCH_X86",)))
    i386 = 0x4000_0003
    assert evaluate(program, 359, i386) == ALLOW
    assert evaluate(program, 102, i386, (1,)) == ALLOW  # socketcall(SYS_SOCKET)
    assert evaluate(program, 102, i386, (2,)) == EPERM
    assert evaluate(program, 41, i386) == EPERM


# --- rules --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("action", "errno_ret", "value"),
    [
        ("SCMP_ACT_KILL", None, 0), ("SCMP_ACT_KILL_THREAD", None, 0), ("SCMP_ACT_KILL_PROCESS", None, 0x8000_0000),
        ("SCMP_ACT_TRAP", None, 0x0003_0000), ("SCMP_ACT_ERRNO", None, 0x0005_0001),
        ("SCMP_ACT_ERRNO", 38, 0x0005_0026), ("SCMP_ACT_ERRNO", 0, 0x0005_0000), ("SCMP_ACT_NOTIFY", None, 0x7FC0_0000),
        ("SCMP_ACT_TRACE", 5, 0x7FF0_0005), ("SCMP_ACT_LOG", None, 0x7FFC_0000), ("SCMP_ACT_ALLOW", None, ALLOW),
    ],
)  # fmt: skip
def test_actions(action: str, errno_ret: int | None, value: int) -> None:
    default = "SCMP_ACT_LOG" if action == "SCMP_ACT_ALLOW" else "SCMP_ACT_ALLOW"
    assert ask(profile(rule("mount", action=action, errno_ret=errno_ret), default=default), "mount") == value


def test_the_default_errno_is_used() -> None:
    assert ask(profile(rule("mseal"), default_errno_ret=13), "mount") == 0x5_0000 | 13


def test_rules_without_arguments_outweigh_those_with() -> None:
    with_argument = rule("socket", action="SCMP_ACT_KILL", index=0, value=1, op="SCMP_CMP_EQ")
    for order in ((with_argument, rule("socket")), (rule("socket"), with_argument)):
        assert ask(profile(*order), "socket", 1) == ALLOW


def test_the_first_of_several_rules_decides() -> None:
    first = rule("socket", action="SCMP_ACT_KILL", index=0, value=5, op="SCMP_CMP_GE")
    second = rule("socket", index=0, value=3, op="SCMP_CMP_GE")
    both = profile(first, second)
    assert [ask(both, "socket", value) for value in (2, 3, 4, 5, 6)] == [EPERM, ALLOW, ALLOW, KILL, KILL]


def test_comparisons_of_different_arguments_must_all_hold_and_of_the_same_are_alternatives() -> None:
    one = SeccompArg(index=0, value=1, op="SCMP_CMP_EQ")
    two = SeccompArg(index=1, value=2, op="SCMP_CMP_EQ")
    same = SeccompArg(index=0, value=7, op="SCMP_CMP_EQ")
    both = profile(SeccompSyscall(names=("socket",), action="SCMP_ACT_ALLOW", args=(one, two)))
    assert [ask(both, "socket", *args) for args in ((1, 2), (1, 3), (0, 2))] == [ALLOW, EPERM, EPERM]
    either = profile(SeccompSyscall(names=("socket",), action="SCMP_ACT_ALLOW", args=(one, same)))
    assert [ask(either, "socket", value) for value in (1, 7, 2)] == [ALLOW, ALLOW, EPERM]


def test_names_that_nobody_knows_are_passed_over() -> None:
    assert compile_filter(profile(rule("read", "no_such_call", "ünbekannt"))) == compile_filter(profile(rule("read")))


words = st.sampled_from([0, 1, 5, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFE, 0xFFFF_FFFF])
quads = st.builds(lambda high, low: high << 32 | low, words, words) | st.integers(0, (1 << 64) - 1)


def holds(comparison: Comparison, value: int) -> bool:
    bits = (1 << 64) - 1 if comparison.wide else 0xFFFF_FFFF
    value, wanted, mask = value & bits, comparison.value & bits, comparison.mask & bits
    return {
        Op.NE: value != wanted,
        Op.LT: value < wanted,
        Op.LE: value <= wanted,
        Op.EQ: value == wanted,
        Op.GE: value >= wanted,
        Op.GT: value > wanted,
        Op.MASKED_EQ: value & mask == wanted & mask,
    }[comparison.op]


comparisons = st.builds(Comparison, st.integers(0, 5), st.sampled_from(Op), quads, quads, st.booleans())
rules = st.builds(Rule, st.integers(0, 0xFFFF), st.lists(comparisons, min_size=1, max_size=4).map(tuple))


@given(st.lists(rules, max_size=5), st.lists(quads, min_size=6, max_size=6))
def test_programs_say_what_their_rules_say(some: list[Rule], args: list[int]) -> None:
    """Any rules, any arguments: no merging, so nothing to merge wrongly (GHSA-4q85-33p6-j5g6)."""
    program = build([Table(audit_arch=7, listed={3: (*some, Rule(99, ()))}, background=[(0, 1)])], 2)
    expected = next((each.action for each in some if all(holds(one, args[one.index]) for one in each.comparisons)), 99)
    assert evaluate(program, 3, 7, args) == expected


@given(st.dictionaries(st.integers(0, 600), st.integers(1, 3)), st.integers(0, 600) | st.integers(0, (1 << 32) - 1))
def test_every_number_gets_its_action(listed: dict[int, int], asked: int) -> None:
    background = [(0, 7), (500, 8), (0x4000_0000, 9)]
    program = build([Table(audit_arch=7, listed=listed, background=background)], 2)
    expected = listed.get(asked, 7 if asked < 500 else 8 if asked < 0x4000_0000 else 9)
    assert evaluate(program, asked, 7) == expected


# --- refusals, flags, cache ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (profile(default="SCMP_ACT_EXPLODE"), "SCMP_ACT_EXPLODE"),
        (profile(default="SCMP_ACT_NOTIFY"), "cannot be the default"),
        (profile(rule("read", action="SCMP_ACT_ALLOW", errno_ret=1)), "takes no errno"),
        (profile(rule("read", action="SCMP_ACT_KILL", errno_ret=1)), "takes no errno"),
        (profile(rule("read", action="SCMP_ACT_ERRNO", errno_ret=70_000)), "70000"),
        (profile(rule("write", action="SCMP_ACT_NOTIFY")), "write"),
        (profile(rule("read", index=6, value=0, op="SCMP_CMP_EQ")), "index 6"),
        (profile(rule("read", index=0, value=0, op="SCMP_CMP_ISH")), "SCMP_CMP_ISH"),
    ],
)
def test_bad_profiles_are_refused(broken: Seccomp, words: str) -> None:
    with pytest.raises(SeccompError, match=words):
        compile_filter(broken)


def test_a_profile_too_large_for_the_kernel_is_refused() -> None:
    many = [rule("socket", index=0, value=value << 32, op="SCMP_CMP_EQ") for value in range(1500)]
    with pytest.raises(SeccompError, match="the kernel takes 4096"):
        compile_filter(profile(*many))


def test_flags() -> None:
    notify = rule("mount", action="SCMP_ACT_NOTIFY")
    prefix = "SECCOMP_FILTER_FLAG_"
    assert installation_flags(profile()) == 4
    assert installation_flags(profile(flags=(f"{prefix}LOG", f"{prefix}TSYNC"))) == 3
    assert installation_flags(profile(notify, flags=(f"{prefix}TSYNC", f"{prefix}WAIT_KILLABLE_RECV"))) == 8 | 32
    with pytest.raises(SeccompError, match="needs a rule"):
        installation_flags(profile(flags=(f"{prefix}WAIT_KILLABLE_RECV",)))
    with pytest.raises(SeccompError, match="FANCY"):
        installation_flags(profile(flags=("FANCY",)))


def test_the_cache_tells_profiles_apart_by_every_field() -> None:
    cache = FilterCache()
    base = profile(rule("read"), default_errno_ret=1)
    assert cache.get(base) is cache.get(replace(base))
    changes: dict[str, object] = {
        "default_action": "SCMP_ACT_KILL", "default_errno_ret": 2, "architectures": ("SCMP_ARCH_X86", "SCMP_ARCH_ARM"),
        "flags": ("SECCOMP_FILTER_FLAG_LOG",), "listener_path": "/x", "listener_metadata": "m", "syscalls": (),
    }  # fmt: skip
    assert set(changes) == {field.name for field in fields(Seccomp)}
    for name, value in changes.items():
        other = replace(base, **({"default_errno_ret": None} if name == "default_action" else {}), **{name: value})  # type: ignore[arg-type]
        assert other != base
        cache.get(other)
    assert len(cache) == len(changes) + 1


def test_the_cache_forgets_the_oldest() -> None:
    cache = FilterCache(capacity=2)
    profiles = [profile(rule("read"), default_errno_ret=number) for number in (1, 2, 3)]
    for each in profiles:
        cache.get(each)
    assert len(cache) == 2
