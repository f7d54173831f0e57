"""What several plugins ask for, made one: adjustments of a container being made, updates of others. Pure.

A thing can be set by one plugin only; a second one that wants it is a conflict, and fails what was asked for. A plugin
that first asks for a thing's removal may then set it, whoever set it before. Each plugin sees the container as those
before it left it: `container` is changed along the way.
"""

from __future__ import annotations

from collections.abc import Iterable, MutableMapping, Sequence
from typing import Final, TypeVar

from google.protobuf.message import Message

from cri.nri.api import nri_pb2 as nri
from cri.nri.errors import AdjustmentConflict, PluginRefused
from cri.nri.messages import Entries, copy, keep, present
from cri.nri.owners import Field, Owners
from cri.nri.resources import merge_resources, resource_keys

REMOVAL: Final = "-"

M = TypeVar("M", bound=Message)

#: Of LinuxContainerAdjustment; a container shows all of them but the last under the same names.
_LINUX: Final[dict[str, Field]] = {
    "cgroups_path": nri.CgroupsPath,
    "oom_score_adj": nri.OomScoreAdj,
    "io_priority": nri.IoPriority,
    "seccomp_policy": nri.SeccompPolicy,
    "scheduler": nri.LinuxSched,
    "memory_policy": nri.MemoryPolicy,
}
_RDT: Final[dict[str, Field]] = {
    "clos_id": nri.RdtClosID,
    "schemata": nri.RdtSchemata,
    "enable_monitoring": nri.RdtEnableMonitoring,
}


def removal(name: str) -> tuple[str, bool]:
    """The name without the mark, and whether it had one."""
    return (name[1:], True) if name.startswith(REMOVAL) else (name, False)


class Creation:
    """The adjustments of one container. `container` is what plugins are shown; it is the caller's no more."""

    def __init__(self, container: nri.Container) -> None:
        self.container = container
        self.adjustment = nri.ContainerAdjustment()
        self.owners = Owners()
        self.updates = Updates(self.owners, being_made=container.id)

    def take(self, response: nri.CreateContainerResponse, plugin: str) -> None:
        """Raises PluginRefused."""
        if response.HasField("adjust"):
            self._adjust(response.adjust, plugin)
        self.updates.take(response.update, plugin)

    def _adjust(self, wanted: nri.ContainerAdjustment, plugin: str) -> None:
        container, ours = self.container, self.adjustment
        self._texts(nri.Annotations, wanted.annotations, ours.annotations, container.annotations, plugin)
        self._entries(nri.Mounts, "destination", wanted.mounts, (ours.mounts, container.mounts), plugin)
        self._env(wanted.env, plugin)
        self._args(wanted.args, plugin)
        self._hooks(wanted.hooks, plugin)
        self._add(nri.Rlimits, "type", wanted.rlimits, (ours.rlimits, container.rlimits), plugin)
        self._add(nri.CdiDevices, "name", wanted.CDI_devices, (ours.CDI_devices, container.CDI_devices), plugin)
        if wanted.HasField("linux"):
            self._linux(wanted.linux, plugin)

    def _linux(self, wanted: nri.LinuxContainerAdjustment, plugin: str) -> None:
        container, ours = self.container.linux, self.adjustment.linux
        self._entries(nri.Devices, "path", wanted.devices, (ours.devices, container.devices), plugin)
        self._texts(nri.Sysctl, wanted.sysctl, ours.sysctl, container.sysctl, plugin)
        self._namespaces(wanted.namespaces, plugin)
        self._net_devices(wanted, plugin)
        if wanted.HasField("resources"):
            self.owners.claim(self.container.id, resource_keys(wanted.resources), plugin)
            merge_resources(ours.resources, wanted.resources)
            merge_resources(container.resources, wanted.resources)
        names = list(present(wanted, _LINUX))
        self.owners.claim(self.container.id, [(_LINUX[name], "") for name in names], plugin)
        copy(ours, wanted, names)
        copy(container, wanted, [name for name in names if name != "memory_policy"])
        if wanted.HasField("rdt"):
            self._rdt(wanted.rdt, plugin)

    # --- one kind of thing each ---------------------------------------------------------------------------------------

    def _claim(self, field: Field, key: str, plugin: str) -> None:
        self.owners.claim(self.container.id, [(field, key)], plugin)

    def _release(self, field: Field, key: str) -> None:
        self.owners.release(self.container.id, (field, key))

    def _texts(
        self,
        field: Field,
        wanted: MutableMapping[str, str],
        ours: MutableMapping[str, str],
        shown: MutableMapping[str, str],
        plugin: str,
    ) -> None:
        for marked in [name for name in wanted if name.startswith(REMOVAL)]:
            name, _ = removal(marked)
            self._release(field, name)
            for there in (ours, shown):
                if name in there:
                    del there[name]
            ours[marked] = ""
        for name in sorted(name for name in wanted if not name.startswith(REMOVAL)):
            self._claim(field, name, plugin)
            ours[name] = shown[name] = wanted[name]

    def _entries(
        self, field: Field, key: str, wanted: Sequence[M], lists: tuple[Entries[M], Entries[M]], plugin: str
    ) -> None:
        """A list whose entries have a name; `lists` are the adjustment's and the container's own."""
        ours, shown = lists
        names = {getattr(entry, key) for entry in wanted}
        removed = {name[1:] for name in names if name.startswith(REMOVAL)}
        for name in removed:
            self._release(field, name)
        keep(ours, lambda entry: removal(getattr(entry, key))[0] not in removed)
        keep(shown, lambda entry: getattr(entry, key) not in removed and getattr(entry, key) not in names)
        for entry in wanted:
            name, marked = removal(getattr(entry, key))
            if not marked:
                self._claim(field, name, plugin)
                shown.append(entry)
            ours.append(entry)

    def _env(self, wanted: Sequence[nri.KeyValue], plugin: str) -> None:
        if not wanted:
            return
        shown = nri.ContainerAdjustment(env=[_pair(entry) for entry in self.container.env])
        self._entries(nri.Env, "key", wanted, (self.adjustment.env, shown.env), plugin)
        del self.container.env[:]
        self.container.env.extend(f"{pair.key}={pair.value}" for pair in shown.env)

    def _args(self, wanted: Sequence[str], plugin: str) -> None:
        if not wanted:
            return
        args = list(wanted)
        if not args[0]:
            self._release(nri.Args, "")
            del args[0]
        self._claim(nri.Args, "", plugin)
        for there in (self.adjustment.args, self.container.args):
            del there[:]
            there.extend(args)

    def _hooks(self, wanted: nri.Hooks, plugin: str) -> None:
        if wanted.ByteSize():
            self.owners.share(self.container.id, nri.OciHooks, plugin)
            self.adjustment.hooks.MergeFrom(wanted)
            self.container.hooks.MergeFrom(wanted)

    def _add(
        self, field: Field, key: str, wanted: Sequence[M], lists: tuple[Entries[M], Entries[M]], plugin: str
    ) -> None:
        """A list that is only ever added to."""
        for entry in wanted:
            self._claim(field, getattr(entry, key), plugin)
            for there in lists:
                there.append(entry)

    def _namespaces(self, wanted: Sequence[nri.LinuxNamespace], plugin: str) -> None:
        for namespace in wanted:
            kind, marked = removal(namespace.type)
            self._claim(nri.Namespace, kind, plugin)
            self.adjustment.linux.namespaces.append(namespace)
            shown = self.container.linux.namespaces
            keep(shown, lambda there, kind=kind: there.type != kind)  # type: ignore[misc]
            if not marked:
                shown.append(namespace)

    def _net_devices(self, wanted: nri.LinuxContainerAdjustment, plugin: str) -> None:
        ours, shown = self.adjustment.linux.net_devices, self.container.linux.net_devices
        names = sorted(wanted.net_devices)  # "-" sorts before every letter: removals first
        for marked in names:
            name, gone = removal(marked)
            if gone:
                self._release(nri.LinuxNetDevices, name)
                for there in (ours, shown):
                    if name in there:
                        del there[name]
                ours[marked].SetInParent()
            else:
                self._claim(nri.LinuxNetDevices, name, plugin)
                ours[name].CopyFrom(wanted.net_devices[name])
                shown[name].CopyFrom(wanted.net_devices[name])

    def _rdt(self, wanted: nri.LinuxRdt, plugin: str) -> None:
        ours, shown = self.adjustment.linux.rdt, self.container.linux.rdt
        if wanted.remove:
            for field in _RDT.values():
                self._release(field, "")
            ours.Clear()
            shown.Clear()
            ours.remove = True
        names = list(present(wanted, _RDT))
        self.owners.claim(self.container.id, [(_RDT[name], "") for name in names], plugin)
        copy(ours, wanted, names)
        copy(shown, wanted, names)


class Updates:
    """Updates of containers, by id. `being_made` is one that can only be adjusted, not updated."""

    def __init__(self, owners: Owners | None = None, being_made: str = "") -> None:
        self._owners = owners or Owners()
        self._being_made = being_made
        self.by_container: dict[str, nri.ContainerUpdate] = {}

    def take(self, updates: Iterable[nri.ContainerUpdate], plugin: str) -> None:
        """Raises PluginRefused; a conflict of an update that may fail drops only that."""
        for update in updates:
            if update.container_id == self._being_made:
                raise PluginRefused(plugin, f"wants to update container {update.container_id} while it is being made")
            try:
                self._take(update, plugin)
            except AdjustmentConflict:
                if not update.ignore_failure:
                    raise

    def _take(self, update: nri.ContainerUpdate, plugin: str) -> None:
        wanted = update.linux.resources
        self._owners.claim(update.container_id, resource_keys(wanted), plugin)
        ours = self.by_container.get(update.container_id)
        if ours is None:
            ours = self.by_container[update.container_id] = nri.ContainerUpdate(
                container_id=update.container_id, ignore_failure=update.ignore_failure
            )
        ours.ignore_failure = ours.ignore_failure and update.ignore_failure
        merge_resources(ours.linux.resources, wanted)


def _pair(entry: str) -> nri.KeyValue:
    name, _, value = entry.partition("=")
    return nri.KeyValue(key=name, value=value)
