"""`process.scheduler`, `process.ioPriority`, `linux.personality`, `linux.memoryPolicy` as kernel numbers. Pure."""

from __future__ import annotations

from oci.errors import SpecError
from oci.plan import operations as op
from oci.spec import MemoryPolicy, Personality, Process, Scheduler

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

# linux/sched.h
_POLICIES: Final = {
    "SCHED_OTHER": 0,
    "SCHED_FIFO": 1,
    "SCHED_RR": 2,
    "SCHED_BATCH": 3,
    "SCHED_ISO": 4,
    "SCHED_IDLE": 5,
    "SCHED_DEADLINE": 6,
}
_SCHED_FLAGS: Final = {
    "SCHED_FLAG_RESET_ON_FORK": 0x01,
    "SCHED_FLAG_RECLAIM": 0x02,
    "SCHED_FLAG_DL_OVERRUN": 0x04,
    "SCHED_FLAG_KEEP_POLICY": 0x08,
    "SCHED_FLAG_KEEP_PARAMS": 0x10,
    "SCHED_FLAG_UTIL_CLAMP_MIN": 0x20,
    "SCHED_FLAG_UTIL_CLAMP_MAX": 0x40,
}
# linux/ioprio.h
_IO_CLASSES: Final = {"IOPRIO_CLASS_RT": 1, "IOPRIO_CLASS_BE": 2, "IOPRIO_CLASS_IDLE": 3}
# linux/personality.h
_DOMAINS: Final = {"LINUX": 0x0000, "LINUX32": 0x0008}
# linux/mempolicy.h
MEMORY_MODES: Final = {
    "MPOL_DEFAULT": 0,
    "MPOL_PREFERRED": 1,
    "MPOL_BIND": 2,
    "MPOL_INTERLEAVE": 3,
    "MPOL_LOCAL": 4,
    "MPOL_PREFERRED_MANY": 5,
    "MPOL_WEIGHTED_INTERLEAVE": 6,
}
MEMORY_FLAGS: Final = {
    "MPOL_F_NUMA_BALANCING": 1 << 13,
    "MPOL_F_RELATIVE_NODES": 1 << 14,
    "MPOL_F_STATIC_NODES": 1 << 15,
}
_MAX_NODE: Final = 1023
_SHORTEST_RUNTIME: Final = 1024  # nanoseconds


def plan_scheduling(process: Process) -> list[op.Operation]:
    steps: list[op.Operation] = []
    if process.scheduler is not None:
        steps.append(_scheduler(process))
    if process.io_priority is not None:
        steps.append(_io_priority(process))
    return steps


def plan_personality(personality: Personality | None) -> list[op.Operation]:
    if personality is None:
        return []
    if personality.domain not in _DOMAINS:
        raise SpecError("linux.personality.domain", f"{personality.domain!r} is not LINUX or LINUX32")
    if personality.flags:
        raise SpecError("linux.personality.flags", "no flags are defined")
    return [op.SetPersonality(persona=_DOMAINS[personality.domain])]


def plan_memory_policy(policy: MemoryPolicy | None) -> list[op.Operation]:
    if policy is None or not policy.mode:
        return []
    if policy.mode not in MEMORY_MODES:
        raise SpecError("linux.memoryPolicy.mode", f"{policy.mode!r} is not a memory policy")
    mode = MEMORY_MODES[policy.mode]
    for index, name in enumerate(policy.flags):
        if name not in MEMORY_FLAGS:
            raise SpecError(f"linux.memoryPolicy.flags[{index}]", f"{name!r} is not a memory policy flag")
        mode |= MEMORY_FLAGS[name]
    nodes = number_set(policy.nodes or "", "linux.memoryPolicy.nodes", _MAX_NODE)
    return [op.SetMemoryPolicy(mode=mode, nodes=sum(1 << node for node in nodes))]


def number_set(text: str, field: str, highest: int) -> frozenset[int]:
    """ "0-3,7" as numbers."""
    numbers: set[int] = set()
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        first, dash, last = part.partition("-")
        if not (first.isascii() and first.isdigit()) or (dash and not (last.isascii() and last.isdigit())):
            raise SpecError(field, f"{part!r} is not a number or a range")
        low, high = int(first), int(last or first)
        if low > high or high > highest:
            raise SpecError(field, f"{part!r} is not a range within 0-{highest}")
        numbers.update(range(low, high + 1))
    return frozenset(numbers)


def _scheduler(process: Process) -> op.SetScheduler:
    scheduler = process.scheduler
    assert scheduler is not None
    if scheduler.policy not in _POLICIES:
        raise SpecError("process.scheduler.policy", f"{scheduler.policy!r} is not a scheduling policy")
    flags = 0
    for index, name in enumerate(scheduler.flags):
        if name not in _SCHED_FLAGS:
            raise SpecError(f"process.scheduler.flags[{index}]", f"{name!r} is not a scheduler flag")
        flags |= _SCHED_FLAGS[name]
    if scheduler.policy == "SCHED_DEADLINE":
        _check_deadline(scheduler)
    return op.SetScheduler(
        policy=_POLICIES[scheduler.policy],
        flags=flags,
        nice=scheduler.nice,
        priority=scheduler.priority,
        runtime=scheduler.runtime or 0,
        deadline=scheduler.deadline or 0,
        period=scheduler.period,
    )


def _check_deadline(scheduler: Scheduler) -> None:
    """What sched_setattr(2) asks of the three times, which it answers with a bare EINVAL; 2**63 is its own bound."""
    runtime, deadline, period = scheduler.runtime, scheduler.deadline, scheduler.period
    problem = ""
    if runtime is None:
        problem = "requires `runtime`"
    elif deadline is None:
        problem = "requires `deadline`"
    elif runtime == 0:
        problem = "runtime must be greater than 0"
    elif not _SHORTEST_RUNTIME <= runtime < 1 << 63:
        problem = f"runtime {runtime} must be between {_SHORTEST_RUNTIME} and {(1 << 63) - 1}"
    elif runtime > deadline:
        problem = f"runtime {runtime} must be <= deadline {deadline}"
    elif period and deadline > period:
        problem = f"deadline {deadline} must be <= period {period}"
    if problem:
        raise SpecError("process.scheduler", f"sched_setattr: `SCHED_DEADLINE` {problem}")


def _io_priority(process: Process) -> op.SetIOPriority:
    priority = process.io_priority
    assert priority is not None
    if priority.class_ not in _IO_CLASSES:
        raise SpecError("process.ioPriority.class", f"{priority.class_!r} is not an I/O scheduling class")
    if not 0 <= priority.priority <= 7:
        raise SpecError("process.ioPriority.priority", f"{priority.priority} is not between 0 and 7")
    return op.SetIOPriority(value=_IO_CLASSES[priority.class_] << 13 | priority.priority)
