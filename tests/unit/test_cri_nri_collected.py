"""Adjustments and updates of several plugins made one: what the next sees, who may replace whom, conflicts."""

from __future__ import annotations

import pytest

from cri.nri.api import nri_pb2 as nri
from cri.nri.collected import Creation, Updates
from cri.nri.errors import AdjustmentConflict, PluginRefused


def creation() -> Creation:
    return Creation(
        nri.Container(
            id="c1",
            args=["sleep"],
            env=["A=1", "B=2"],
            annotations={"a": "1"},
            mounts=[nri.Mount(destination="/data", source="/old")],
            linux=nri.LinuxContainer(
                namespaces=[nri.LinuxNamespace(type="pid")],
                resources=nri.LinuxResources(
                    memory=nri.LinuxMemory(limit=nri.OptionalInt64(value=100)),
                    hugepage_limits=[nri.HugepageLimit(page_size="2MB", limit=1)],
                ),
            ),
        )
    )


def adjusted(**fields: object) -> nri.CreateContainerResponse:
    return nri.CreateContainerResponse(adjust=nri.ContainerAdjustment(**fields))  # type: ignore[arg-type]


def linux(**fields: object) -> nri.CreateContainerResponse:
    return adjusted(linux=nri.LinuxContainerAdjustment(**fields))  # type: ignore[arg-type]


def memory(limit: int) -> nri.LinuxResources:
    return nri.LinuxResources(memory=nri.LinuxMemory(limit=nri.OptionalInt64(value=limit)))


EVERYTHING = adjusted(
    annotations={"a": "2"},
    mounts=[nri.Mount(destination="/data", source="/new")],
    env=[nri.KeyValue(key="A", value="2")],
    args=["true"],
    rlimits=[nri.POSIXRlimit(type="RLIMIT_NOFILE", hard=1)],
    CDI_devices=[nri.CDIDevice(name="x.com/y=z")],
    linux=nri.LinuxContainerAdjustment(
        devices=[nri.LinuxDevice(path="/dev/x")],
        resources=nri.LinuxResources(
            memory=nri.LinuxMemory(limit=nri.OptionalInt64(value=0), swappiness=nri.OptionalUInt64(value=3)),
            cpu=nri.LinuxCPU(shares=nri.OptionalUInt64(value=5), cpus="1"),
            hugepage_limits=[nri.HugepageLimit(page_size="2MB", limit=2)],
            unified={"memory.high": "1"},
            pids=nri.LinuxPids(limit=0),
            rdt_class=nri.OptionalString(value=""),
        ),
        cgroups_path="/x",
        oom_score_adj=nri.OptionalInt(value=0),
        io_priority=nri.LinuxIOPriority(priority=1),
        seccomp_policy=nri.LinuxSeccomp(default_action="SCMP_ACT_ALLOW"),
        namespaces=[nri.LinuxNamespace(type="pid", path="/proc/1/ns/pid")],
        sysctl={"kernel.shmmax": "1"},
        net_devices={"eth1": nri.LinuxNetDevice(name="n")},
        scheduler=nri.LinuxScheduler(policy=nri.SCHED_RR),
        rdt=nri.LinuxRdt(clos_id=nri.OptionalString(value="c")),
        memory_policy=nri.LinuxMemoryPolicy(mode=nri.MPOL_LOCAL),
    ),
)


def only(field: str) -> nri.CreateContainerResponse:
    """EVERYTHING reduced to one field of the adjustment, or of its linux part, or of its resources."""
    source = EVERYTHING.adjust
    if field in source.DESCRIPTOR.fields_by_name:
        return adjusted(**{field: getattr(source, field)})
    if field in source.linux.DESCRIPTOR.fields_by_name:
        return linux(**{field: getattr(source.linux, field)})
    return linux(resources=nri.LinuxResources(**{field: getattr(source.linux.resources, field)}))


FIELDS = (
    *("annotations", "mounts", "env", "args", "rlimits", "CDI_devices"),
    *("devices", "cgroups_path", "oom_score_adj", "io_priority", "seccomp_policy", "namespaces", "sysctl"),
    *("net_devices", "scheduler", "rdt", "memory_policy"),
    *("memory", "cpu", "hugepage_limits", "unified", "pids", "rdt_class"),
)


def test_one_plugins_wishes_are_the_adjustment() -> None:
    made = creation()
    made.take(EVERYTHING, "00-a")
    assert made.adjustment == EVERYTHING.adjust


@pytest.mark.parametrize("field", FIELDS)
def test_what_two_plugins_set_is_a_conflict(field: str) -> None:
    made = creation()
    made.take(only(field), "00-a")
    with pytest.raises(AdjustmentConflict) as caught:
        made.take(only(field), "10-b")
    assert (caught.value.plugin, caught.value.other) == ("10-b", "00-a")


@pytest.mark.parametrize("field", FIELDS)
def test_different_fields_do_not_meet(field: str) -> None:
    made = creation()
    made.take(only(field), "00-a")
    for number, other in enumerate(FIELDS):
        if other != field:
            made.take(only(other), f"{number + 10}-b")


def test_the_next_plugin_sees_what_those_before_it_set() -> None:
    made = creation()
    made.take(EVERYTHING, "00-a")
    shown = made.container
    assert list(shown.args) == ["true"]
    assert list(shown.env) == ["B=2", "A=2"]
    assert dict(shown.annotations) == {"a": "2"}
    assert [mount.source for mount in shown.mounts] == ["/new"]
    assert [device.path for device in shown.linux.devices] == ["/dev/x"]
    assert [namespace.path for namespace in shown.linux.namespaces] == ["/proc/1/ns/pid"]
    assert shown.linux.resources.memory.limit.value == 0  # set to 0, not left at 100
    assert [limit.limit for limit in shown.linux.resources.hugepage_limits] == [2]
    assert shown.linux.cgroups_path == "/x"
    assert shown.linux.net_devices["eth1"].name == "n"
    assert shown.linux.rdt.clos_id.value == "c"


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (adjusted(annotations={"k": "1"}), adjusted(annotations={"-k": "", "k": "2"})),
        (
            adjusted(env=[nri.KeyValue(key="K", value="1")]),
            adjusted(env=[nri.KeyValue(key="-K"), nri.KeyValue(key="K", value="2")]),
        ),
        (
            adjusted(mounts=[nri.Mount(destination="/k", source="1")]),
            adjusted(mounts=[nri.Mount(destination="-/k"), nri.Mount(destination="/k", source="2")]),
        ),
        (
            linux(devices=[nri.LinuxDevice(path="/dev/k", minor=1)]),
            linux(devices=[nri.LinuxDevice(path="-/dev/k"), nri.LinuxDevice(path="/dev/k", minor=2)]),
        ),
        (linux(sysctl={"k.k": "1"}), linux(sysctl={"-k.k": "", "k.k": "2"})),
        (
            linux(net_devices={"k": nri.LinuxNetDevice(name="1")}),
            linux(net_devices={"-k": nri.LinuxNetDevice(), "k": nri.LinuxNetDevice(name="2")}),
        ),
        (adjusted(args=["1"]), adjusted(args=["", "2"])),
        (
            linux(rdt=nri.LinuxRdt(clos_id=nri.OptionalString(value="1"))),
            linux(rdt=nri.LinuxRdt(remove=True, clos_id=nri.OptionalString(value="2"))),
        ),
    ],
)
def test_removing_first_lets_a_plugin_replace_what_another_set(
    first: nri.CreateContainerResponse, second: nri.CreateContainerResponse
) -> None:
    made = creation()
    made.take(first, "00-a")
    made.take(second, "10-b")
    owners = made.owners.message().owners["c1"]
    assert {*owners.simple.values(), *(o for c in owners.compound.values() for o in c.owners.values())} == {"10-b"}


def test_hooks_of_all_plugins_add_up() -> None:
    made = creation()
    made.take(adjusted(hooks=nri.Hooks(prestart=[nri.Hook(path="/a")])), "00-a")
    made.take(adjusted(hooks=nri.Hooks(prestart=[nri.Hook(path="/b")])), "10-b")
    assert [hook.path for hook in made.adjustment.hooks.prestart] == ["/a", "/b"]
    assert [hook.path for hook in made.container.hooks.prestart] == ["/a", "/b"]
    assert made.owners.message().owners["c1"].simple[nri.OciHooks] == "00-a,10-b"


def test_validators_are_told_who_set_what() -> None:
    made = creation()
    made.take(EVERYTHING, "00-a")
    owners = made.owners.message().owners["c1"]
    assert owners.simple[nri.CgroupsPath] == "00-a"
    assert owners.compound[nri.Env].owners["A"] == "00-a"
    assert owners.compound[nri.Mounts].owners["/data"] == "00-a"


# --- updates ----------------------------------------------------------------------------------------------------------


def update(container_id: str, resources: nri.LinuxResources, *, ignore: bool = False) -> nri.ContainerUpdate:
    return nri.ContainerUpdate(
        container_id=container_id, linux=nri.LinuxContainerUpdate(resources=resources), ignore_failure=ignore
    )


def test_updates_of_one_container_become_one() -> None:
    updates = Updates()
    updates.take([update("c2", memory(5), ignore=True)], "00-a")
    updates.take([update("c2", nri.LinuxResources(cpu=nri.LinuxCPU(cpus="1")))], "10-b")
    merged = updates.by_container["c2"]
    assert merged.linux.resources.memory.limit.value == 5
    assert merged.linux.resources.cpu.cpus == "1"
    assert not merged.ignore_failure


def test_updates_conflict_unless_they_may_fail() -> None:
    updates = Updates()
    updates.take([update("c2", memory(5))], "00-a")
    updates.take([update("c2", memory(6), ignore=True), update("c3", memory(7))], "10-b")
    assert updates.by_container["c2"].linux.resources.memory.limit.value == 5
    assert updates.by_container["c3"].linux.resources.memory.limit.value == 7
    with pytest.raises(AdjustmentConflict):
        updates.take([update("c2", memory(6))], "10-b")


def test_a_container_being_made_cannot_be_updated() -> None:
    with pytest.raises(PluginRefused, match="while it is being made"):
        creation().take(nri.CreateContainerResponse(update=[update("c1", memory(5))]), "00-a")
