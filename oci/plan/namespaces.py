"""`linux.namespaces`: which are made, which are joined, and by whom. Pure."""

from __future__ import annotations

from oci import syscalls as sc
from oci.errors import SpecError
from oci.plan import operations as op
from oci.plan.host import Host
from oci.spec import Linux, Spec
from oci.values import frozen, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

CLONE_FLAGS: Final = {
    "user": sc.CLONE_NEWUSER,
    "mount": sc.CLONE_NEWNS,
    "pid": sc.CLONE_NEWPID,
    "ipc": sc.CLONE_NEWIPC,
    "uts": sc.CLONE_NEWUTS,
    "network": sc.CLONE_NEWNET,
    "cgroup": sc.CLONE_NEWCGROUP,
    "time": sc.CLONE_NEWTIME,
}

# These two are made late, by the child itself: a cgroup namespace is rooted where its maker is, and a time namespace
# takes its offsets before anyone enters it.
_MADE_BY_CHILD: Final = frozenset(("cgroup", "time"))
_CLOCKS: Final = {"monotonic": "monotonic", "boottime": "boottime"}


@frozen
class NamespacePlan:
    new: frozenset[str]
    joined: tuple[tuple[str, str], ...]

    @property
    def own(self) -> frozenset[str]:
        """Types the container does not inherit from the runtime."""
        return self.new | {kind for kind, _ in self.joined}

    def path(self, kind: str) -> str | None:
        return next((path for joined, path in self.joined if joined == kind), None)


def read_namespaces(linux: Linux) -> NamespacePlan:
    new: set[str] = set()
    joined: list[tuple[str, str]] = []
    for index, namespace in enumerate(linux.namespaces):
        where = f"linux.namespaces[{index}]"
        if namespace.type not in CLONE_FLAGS:
            raise SpecError(f"{where}.type", f"{namespace.type!r} is not a namespace type")
        if namespace.type in new or any(kind == namespace.type for kind, _ in joined):
            raise SpecError(f"{where}.type", f"{namespace.type} is given twice")
        if not namespace.path:
            new.add(namespace.type)
        elif not namespace.path.startswith("/"):
            raise SpecError(f"{where}.path", f"{namespace.path!r} is not absolute")
        else:
            joined.append((namespace.type, namespace.path))
    return NamespacePlan(new=frozenset(new), joined=tuple(joined))


def with_own_mappings(spec: Spec, plan: NamespacePlan, host: Host) -> Spec:
    """A new user namespace without mappings gets every id that we have, as itself."""
    linux = spec.linux
    if "user" not in plan.new or linux.uid_mappings or linux.gid_mappings or not host.uid_map:
        return spec
    return replace(spec, linux=replace(linux, uid_mappings=host.uid_map, gid_mappings=host.gid_map))


def check_namespaces(spec: Spec, plan: NamespacePlan) -> None:
    """The properties that only make sense with a namespace of the container's own."""
    linux = spec.linux
    if linux.uid_mappings and "user" not in plan.own:
        raise SpecError("linux.uidMappings", "needs a user namespace")
    if "user" in plan.new and not (linux.uid_mappings and linux.gid_mappings):
        raise SpecError("linux.uidMappings", "a new user namespace needs uid and gid mappings")
    if linux.time_offsets and "time" not in plan.new:
        raise SpecError("linux.timeOffsets", "needs a new time namespace")
    for clock in linux.time_offsets:
        if clock not in _CLOCKS:
            raise SpecError(f"linux.timeOffsets[{clock!r}]", "is not a clock that can be offset")
    if spec.hostname and "uts" not in plan.own:
        raise SpecError("hostname", "needs a uts namespace that is not the host's")
    if spec.domainname and "uts" not in plan.own:
        raise SpecError("domainname", "needs a uts namespace that is not the host's")
    if linux.net_devices:
        if "network" not in plan.own:
            raise SpecError("linux.netDevices", "needs a network namespace that is not the host's")
        # Loaded for the few that have any.
        from oci.netdevices import check

        check(linux.net_devices)
    if "mount" not in plan.own:
        for name, paths in (("maskedPaths", linux.masked_paths), ("readonlyPaths", linux.readonly_paths)):
            if paths:
                raise SpecError(f"linux.{name}", "needs a mount namespace")


def made_by_clone(plan: NamespacePlan) -> frozenset[str]:
    """With a user namespace the first child only opens what its root may not reach, and makes the others by a second
    clone, so that the user namespace owns them."""
    if "user" in plan.own:
        return frozenset()
    return plan.new - _MADE_BY_CHILD


def enter_namespaces(spec: Spec, plan: NamespacePlan) -> list[op.Operation]:
    """The child's first steps, up to where it is root in all its namespaces."""
    steps: list[op.Operation] = []
    late = tuple(sorted(plan.new - _MADE_BY_CHILD))
    for kind, path in sorted(plan.joined, key=lambda entry: entry[0] != "user"):
        # The parent's children are born in a joined pid namespace; nobody can enter one alive.
        if kind != "pid":
            steps.append(op.JoinNamespace(kind=kind, path=path))
    if "user" in plan.new:
        steps += [op.Reclone(kinds=late), op.AwaitMappings()]
    elif "user" in plan.own:
        steps.append(op.BecomeNamespaceRoot())
        if late:
            steps.append(op.Reclone(kinds=late))
    if "time" in plan.new:
        offsets = sorted(spec.linux.time_offsets.items())
        steps.append(
            op.EnterTimeNamespace(offsets=tuple((clock, value.secs, value.nanosecs) for clock, value in offsets))
        )
    if "network" in plan.new:
        steps.append(op.RaiseLoopback())
    return steps
