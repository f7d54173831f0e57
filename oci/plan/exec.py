"""A further process in a running container as steps. Pure."""

from __future__ import annotations

from oci.plan import operations as op
from oci.plan.host import Host, Supplied
from oci.plan.process import check_process, plan_process, warnings
from oci.plan.scheduling import number_set
from oci.spec import Process, Spec


def plan_exec(
    process: Process, spec: Spec, host: Host, supplied: Supplied, *, user_namespace: bool, reclone: bool = False
) -> op.Plan:
    """`spec` is the running container's: the seccomp profile is its, not the process's. `reclone`: the process is not
    born in the container's pid namespace, since only root of its user namespace may join that."""
    check_process(process)
    setup: list[op.Operation] = [*_initial_affinity(process), op.HideFromPeers()]
    if supplied.enters:
        setup.append(op.EnterCgroup())
    setup.append(op.JoinContainer())
    if reclone:
        setup.append(op.Reclone(kinds=()))
    if process.terminal:
        size = process.console_size
        setup.append(
            op.OpenConsole(
                uid=process.user.uid,
                height=size.height if size else 0,
                width=size.width if size else 0,
                bind_console=False,
            )
        )
    finish = plan_process(process, spec.linux.seccomp, host, supplied, user_namespace=user_namespace)
    affinity = process.exec_cpu_affinity
    if affinity is not None and (affinity.final or affinity.initial):
        cpus = number_set(affinity.final or affinity.initial or "", "process.execCPUAffinity.final", 65535)
        finish = [op.ResetAffinity(cpus=cpus) if isinstance(step, op.ResetAffinity) else step for step in finish]
    return op.Plan(
        new_namespaces=frozenset(),
        joined_pid_namespace=None,
        setup=tuple(setup),
        finish=tuple(finish),
        process=process,
        warnings=warnings(process),
    )


def _initial_affinity(process: Process) -> list[op.Operation]:
    """Before the process is in the container's cgroup, whose processors it may have to keep away from until then."""
    affinity = process.exec_cpu_affinity
    if affinity is None or not affinity.initial:
        return []
    return [op.ResetAffinity(cpus=number_set(affinity.initial, "process.execCPUAffinity.initial", 65535))]
