"""Seccomp: from a profile to the bytes that seccomp(2) takes. Owns actions, operators, flags and the order of rules.

    program = FilterCache().get(default_profile(capabilities))      in the daemon or the launcher
    oci.syscalls.seccomp_set_filter(program, installation_flags(profile))   in the child, which only installs

    __init__.py     compile_filter, FilterCache, installation_flags
    profile.py      the runtime's default profile
    document.py     profiles in files (Kubernetes "localhost" profiles)
    names.py        system call numbers by name (libseccomp)
    program.py      the BPF generator                                pure

What a profile means, as under runc and crun: names that no architecture knows are passed over; a rule that says what
the default says anyway is void; a rule without arguments outweighs those with; comparisons of one rule that repeat an
argument are alternatives; among rules with arguments the first that matches decides (libseccomp leaves that open).

A system call newer than every one that the profile names answers ENOSYS where the default would refuse it: its authors
cannot have meant it, and the C library falls back on ENOSYS but not on EPERM.
"""

from __future__ import annotations

from collections import OrderedDict

from oci import syscalls
from oci.errors import SeccompError
from oci.seccomp.document import load_profile
from oci.seccomp.names import KNOWN, X32_BIT, Architecture, family, resolve
from oci.seccomp.profile import default_profile
from oci.seccomp.program import NUMBER_END, Comparison, Op, Outcome, Rule, Table, build
from oci.spec import Seccomp, SeccompArg, SeccompSyscall

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

__all__ = ["FilterCache", "compile_filter", "default_profile", "installation_flags", "load_profile"]

# linux/seccomp.h, SECCOMP_RET_*
_KILL_THREAD: Final = 0
_ACTIONS: Final = {
    "SCMP_ACT_KILL": _KILL_THREAD,
    "SCMP_ACT_KILL_THREAD": _KILL_THREAD,
    "SCMP_ACT_KILL_PROCESS": 0x8000_0000,
    "SCMP_ACT_TRAP": 0x0003_0000,
    "SCMP_ACT_ERRNO": 0x0005_0000,
    "SCMP_ACT_NOTIFY": 0x7FC0_0000,
    "SCMP_ACT_TRACE": 0x7FF0_0000,
    "SCMP_ACT_LOG": 0x7FFC_0000,
    "SCMP_ACT_ALLOW": 0x7FFF_0000,
}
_WITH_ERRNO: Final = frozenset(("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE"))
_PERMISSIVE: Final = frozenset(("SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_TRACE"))
_EPERM: Final = 1
_ENOSYS: Final = 0x0005_0000 | 38
_MOST_INSTRUCTIONS: Final = 4096
_ALL_ONES: Final = (1 << 64) - 1

_FLAGS: Final = {
    "SECCOMP_FILTER_FLAG_TSYNC": syscalls.SECCOMP_FILTER_FLAG_TSYNC,
    "SECCOMP_FILTER_FLAG_LOG": syscalls.SECCOMP_FILTER_FLAG_LOG,
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": syscalls.SECCOMP_FILTER_FLAG_SPEC_ALLOW,
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV": syscalls.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV,
}


def compile_filter(profile: Seccomp) -> bytes:
    """The program for this host, eight bytes an instruction."""
    if profile.default_action == "SCMP_ACT_NOTIFY":
        raise SeccompError("SCMP_ACT_NOTIFY cannot be the default action: the sending of the descriptor needs calls")
    default = _action(profile.default_action, profile.default_errno_ret)
    tables: dict[int, _TableMaker] = {}
    for architecture in _architectures(profile):
        maker = tables.setdefault(architecture.audit_arch, _TableMaker(architecture.audit_arch, default))
        maker.add(architecture, profile)
    program = build([maker.table() for maker in tables.values()], _KILL_THREAD)
    if len(program) // 8 > _MOST_INSTRUCTIONS:
        problem = f"the profile needs {len(program) // 8} instructions, the kernel takes {_MOST_INSTRUCTIONS}"
        raise SeccompError(problem)
    return program


def installation_flags(profile: Seccomp) -> int:
    """Flags for seccomp(2). Without any in the profile, speculation is left as fast as it is, like everywhere."""
    flags = 0 if profile.flags else syscalls.SECCOMP_FILTER_FLAG_SPEC_ALLOW
    for name in profile.flags:
        if name not in _FLAGS:
            raise SeccompError(f"unknown flag {name!r}")
        flags |= _FLAGS[name]
    if any(rule.action == "SCMP_ACT_NOTIFY" for rule in profile.syscalls):
        # The process has one thread when it installs; a listener and TSYNC would exclude each other.
        flags = flags & ~syscalls.SECCOMP_FILTER_FLAG_TSYNC | syscalls.SECCOMP_FILTER_FLAG_NEW_LISTENER
    elif flags & syscalls.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV:
        raise SeccompError("flag SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV needs a rule with SCMP_ACT_NOTIFY")
    return flags


class FilterCache:
    """Programs of the profiles used last. The key is the profile value itself, so no input can be left out of it."""

    def __init__(self, capacity: int = 64) -> None:
        self._capacity = capacity
        self._programs: OrderedDict[Seccomp, bytes] = OrderedDict()

    def __len__(self) -> int:
        return len(self._programs)

    def get(self, profile: Seccomp) -> bytes:
        program = self._programs.get(profile)
        if program is None:
            program = self._programs[profile] = compile_filter(profile)
            if len(self._programs) > self._capacity:
                self._programs.popitem(last=False)
        else:
            self._programs.move_to_end(profile)
        return program


def _architectures(profile: Seccomp) -> list[Architecture]:
    """The machine's own, always, and of the others those that the profile lists."""
    for name in profile.architectures:
        if name not in KNOWN:
            raise SeccompError(f"unknown architecture {name!r}")
    native, *others = family()
    return [native, *(other for other in others if other.name in profile.architectures)]


def _action(name: str, errno_ret: int | None) -> int:
    action = _ACTIONS.get(name)
    if action is None:
        raise SeccompError(f"unknown action {name!r}")
    if name not in _WITH_ERRNO:
        if errno_ret is not None:
            raise SeccompError(f"action {name} takes no errno")
        return action
    value = _EPERM if errno_ret is None else errno_ret
    if not 0 <= value <= 0xFFFF:
        raise SeccompError(f"errno {value} is not within 0 to 65535")
    return action | value


class _TableMaker:
    """Collects the numbers of all architectures that share one AUDIT_ARCH value (x86_64 and x32)."""

    def __init__(self, audit_arch: int, default: int) -> None:
        self._audit_arch = audit_arch
        self._default = default
        self._listed: dict[int, Outcome] = {}
        # A tracer that skips a call sets the number to -1, which is no architecture's.
        self._background = {0: default, NUMBER_END - 1: default}
        if audit_arch == family()[0].audit_arch and family()[-1].first == X32_BIT:
            self._background[X32_BIT] = _KILL_THREAD

    def add(self, architecture: Architecture, profile: Seccomp) -> None:
        rules: dict[int, list[Rule]] = {}
        newest = -1
        for entry in profile.syscalls:
            action = _entry_action(entry)
            its_rules = _rules(action, entry.args, architecture.wide) if action != self._default else []
            for name in entry.names:
                numbers = resolve(architecture, name)
                if numbers.direct is not None:
                    if numbers.direct < architecture.end:
                        newest = max(newest, numbers.direct)
                    if its_rules:
                        rules.setdefault(numbers.direct, []).extend(its_rules)
                # The arguments are behind a pointer there, so a rule about them has nothing to look at.
                if (other := numbers.multiplexed) is not None and its_rules and not entry.args:
                    selector = Comparison(0, Op.EQ, other.selector, wide=False)
                    rules.setdefault(other.number, []).append(Rule(action, (selector,)))
        for number, alternatives in rules.items():
            self._listed[number] = self._outcome(alternatives)
        self._background[architecture.first] = self._default
        if newest >= 0 and profile.default_action not in _PERMISSIVE:
            self._background[newest + 1] = _ENOSYS
            self._background.setdefault(architecture.end, self._default)

    def _outcome(self, rules: list[Rule]) -> Outcome:
        for rule in rules:
            if not rule.comparisons:
                return rule.action
        return (*rules, Rule(self._default, ()))

    def table(self) -> Table:
        return Table(audit_arch=self._audit_arch, listed=self._listed, background=sorted(self._background.items()))


def _entry_action(entry: SeccompSyscall) -> int:
    if entry.action == "SCMP_ACT_NOTIFY" and "write" in entry.names:
        raise SeccompError("SCMP_ACT_NOTIFY cannot be used for write: the runtime needs it after installing the filter")
    return _action(entry.action, entry.errno_ret)


def _rules(action: int, arguments: tuple[SeccompArg, ...], wide: bool) -> list[Rule]:
    comparisons = [_comparison(argument, wide) for argument in arguments]
    if len({comparison.index for comparison in comparisons}) < len(comparisons):
        return [Rule(action, (comparison,)) for comparison in comparisons]
    return [Rule(action, tuple(comparisons))]


def _comparison(argument: SeccompArg, wide: bool) -> Comparison:
    if argument.index > 5:
        raise SeccompError(f"argument index {argument.index} is not within 0 to 5")
    try:
        op = Op(argument.op)
    except ValueError:
        raise SeccompError(f"unknown operator {argument.op!r}")
    if op is Op.MASKED_EQ:
        return Comparison(argument.index, op, argument.value_two, argument.value, wide)
    return Comparison(argument.index, op, argument.value, _ALL_ONES, wide)
