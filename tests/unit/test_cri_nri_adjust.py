"""An adjustment applied to a runtime-spec: every field that a plugin can ask for, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cri.errors import InvalidArgument
from cri.nri import adjust
from cri.nri.api import nri_pb2 as nri
from cri.nri.resources import adjusted_resources, from_cri, from_spec, to_cri
from oci import spec

BASE = spec.Spec(
    oci_version=spec.VERSION,
    process=spec.Process(
        cwd="/",
        args=("sleep", "1"),
        env=("PATH=/bin", "A=1", "B=2"),
        rlimits=(spec.Rlimit(type="RLIMIT_NOFILE", hard=10, soft=5),),
        oom_score_adj=100,
    ),
    annotations={"keep": "1", "drop": "2"},
    mounts=(
        spec.Mount(destination="/proc", type="proc", source="proc"),
        spec.Mount(destination="/dev", type="tmpfs", source="tmpfs"),
        spec.Mount(destination="/dev/shm", type="bind", source="/run/shm"),
        spec.Mount(destination="/data", type="bind", source="/host/data"),
    ),
    linux=spec.Linux(
        namespaces=(spec.Namespace(type="mount"), spec.Namespace(type="pid")),
        devices=(spec.Device(path="/dev/old", type="c", major=1, minor=9),),
        cgroups_path="/pods/a",
        sysctl={"net.core.somaxconn": "1"},
        resources=spec.Resources(
            devices=(spec.DeviceRule(allow=False, access="rwm"),),
            memory=spec.MemoryResources(limit=100, swap=100),
            hugepage_limits=(spec.HugepageLimit(page_size="2MB", limit=0),),
        ),
    ),
)


def applied(**fields: object) -> spec.Spec:
    return adjust.apply(BASE, nri.ContainerAdjustment(**fields))  # type: ignore[arg-type]


def linux(**fields: object) -> spec.Linux:
    return applied(linux=nri.LinuxContainerAdjustment(**fields)).linux  # type: ignore[arg-type]


def process(**fields: object) -> spec.Process:
    changed = applied(**fields).process
    assert changed is not None
    return changed


def test_an_empty_adjustment_changes_nothing() -> None:
    assert applied() == BASE
    assert applied(linux=nri.LinuxContainerAdjustment(resources=nri.LinuxResources())) == BASE


def test_annotations_are_set_and_removed() -> None:
    assert applied(annotations={"-drop": "", "new": "3"}).annotations == {"keep": "1", "new": "3"}
    assert applied(annotations={"-drop": "", "drop": "again"}).annotations == {"keep": "1", "drop": "again"}


def test_environment_variables_keep_their_places() -> None:
    wanted = [nri.KeyValue(key="A", value="one"), nri.KeyValue(key="-B"), nri.KeyValue(key="C", value="")]
    assert process(env=wanted).env == ("PATH=/bin", "A=one", "C=")


@given(st.lists(st.tuples(st.sampled_from(["A", "B", "C", "-A", "-C"]), st.sampled_from(["", "x"])), max_size=6))
def test_removals_come_before_additions(wanted: list[tuple[str, str]]) -> None:
    env = process(env=[nri.KeyValue(key=key, value=value) for key, value in wanted]).env
    added = dict(pair for pair in wanted if not pair[0].startswith("-"))
    removed = {key[1:] for key, _ in wanted if key.startswith("-")}
    expected = {"PATH": "/bin", "A": "1", "B": "2"}
    assert (
        dict(entry.split("=", 1) for entry in env)
        == {key: value for key, value in expected.items() if key not in removed} | added
    )


def test_args_are_replaced() -> None:
    assert process(args=["true"]).args == ("true",)


def test_rlimits_replace_those_of_their_kind() -> None:
    wanted = [nri.POSIXRlimit(type="RLIMIT_NOFILE", hard=99, soft=98), nri.POSIXRlimit(type="RLIMIT_CORE")]
    assert process(rlimits=wanted).rlimits == (
        spec.Rlimit(type="RLIMIT_NOFILE", hard=99, soft=98),
        spec.Rlimit(type="RLIMIT_CORE", hard=0, soft=0),
    )


def test_the_process_gets_scheduler_io_priority_and_oom_score() -> None:
    changed = process(
        linux=nri.LinuxContainerAdjustment(
            oom_score_adj=nri.OptionalInt(value=0),
            io_priority=nri.LinuxIOPriority(**{"class": nri.IOPRIO_CLASS_BE, "priority": 3}),
            scheduler=nri.LinuxScheduler(
                policy=nri.SCHED_FIFO, priority=5, flags=[nri.SCHED_FLAG_RESET_ON_FORK, nri.SCHED_FLAG_RECLAIM]
            ),
        )
    )
    assert changed.oom_score_adj == 0
    assert changed.io_priority == spec.IOPriority(class_="IOPRIO_CLASS_BE", priority=3)
    assert changed.scheduler == spec.Scheduler(
        policy="SCHED_FIFO", priority=5, flags=("SCHED_FLAG_RESET_ON_FORK", "SCHED_FLAG_RECLAIM")
    )


def test_mounts_are_replaced_removed_added_and_sorted_by_depth() -> None:
    mounts = applied(
        mounts=[
            nri.Mount(destination="/dev/shm/x/y", type="bind", source="/b", options=["ro", "relabel"]),
            nri.Mount(destination="-/data"),
            nri.Mount(destination="/dev/shm/", type="tmpfs", source="tmpfs"),
            nri.Mount(destination="/new", type="bind", source="/a"),
        ]
    ).mounts
    assert [mount.destination for mount in mounts] == ["/proc", "/dev", "/new", "/dev/shm/", "/dev/shm/x/y"]
    assert mounts[3].type == "tmpfs"
    assert mounts[4].options == ("ro",)


def test_a_mount_marked_and_given_is_replaced() -> None:
    wanted = [nri.Mount(destination="/data", source="/other"), nri.Mount(destination="-/data")]
    assert [m for m in applied(mounts=wanted).mounts if m.destination == "/data"] == [
        spec.Mount(destination="/data", source="/other")
    ]


@pytest.mark.parametrize(
    ("options", "propagation"), [(["rw"], None), (["rslave"], "rslave"), (["rbind", "rshared"], "rshared")]
)
def test_the_root_propagates_as_a_mount_needs_it(options: list[str], propagation: str | None) -> None:
    wanted = [nri.Mount(destination="/new", source="/a", options=options)]
    assert applied(mounts=wanted).linux.rootfs_propagation == propagation


def test_hooks_are_added() -> None:
    hook = nri.Hook(path="/bin/hook", args=["hook"], env=["A=1"], timeout=nri.OptionalInt(value=5))
    expected = spec.Hook(path="/bin/hook", args=("hook",), env=("A=1",), timeout=5)
    hooks = applied(hooks=nri.Hooks(create_runtime=[hook], poststop=[hook])).hooks
    assert hooks == spec.Hooks(create_runtime=(expected,), poststop=(expected,))


def test_devices_are_added_with_their_rules_and_removed() -> None:
    wanted = [
        nri.LinuxDevice(path="-/dev/old"),
        nri.LinuxDevice(path="/dev/new", type="c", major=10, minor=200, file_mode=nri.OptionalFileMode(value=0o440)),
    ]
    changed = linux(devices=wanted)
    assert changed.devices == (spec.Device(path="/dev/new", type="c", major=10, minor=200, file_mode=0o440),)
    assert changed.resources is not None
    assert changed.resources.devices[-1] == spec.DeviceRule(allow=True, type="c", major=10, minor=200, access="rm")


def test_namespaces_sysctls_and_network_devices_are_set_and_removed() -> None:
    changed = linux(
        namespaces=[nri.LinuxNamespace(type="-pid"), nri.LinuxNamespace(type="network", path="/run/netns/x")],
        sysctl={"-net.core.somaxconn": "", "kernel.shmmax": "1"},
        net_devices={"eth5": nri.LinuxNetDevice(name="data0"), "-eth6": nri.LinuxNetDevice()},
    )
    assert changed.namespaces == (spec.Namespace(type="mount"), spec.Namespace(type="network", path="/run/netns/x"))
    assert changed.sysctl == {"kernel.shmmax": "1"}
    assert changed.net_devices == {"eth5": spec.NetDevice(name="data0")}


def test_cgroup_seccomp_rdt_and_memory_policy_are_set() -> None:
    changed = linux(
        cgroups_path="/pods/b",
        seccomp_policy=nri.LinuxSeccomp(
            default_action="SCMP_ACT_ALLOW",
            default_errno=nri.OptionalUInt32(value=0),
            syscalls=[
                nri.LinuxSyscall(
                    names=["mkdir"],
                    action="SCMP_ACT_ERRNO",
                    errno_ret=nri.OptionalUInt32(value=1),
                    args=[nri.LinuxSeccompArg(index=1, value=2, value_two=3, op="SCMP_CMP_MASKED_EQ")],
                )
            ],
        ),
        rdt=nri.LinuxRdt(clos_id=nri.OptionalString(value="gold"), enable_monitoring=nri.OptionalBool(value=True)),
        memory_policy=nri.LinuxMemoryPolicy(mode=nri.MPOL_BIND, nodes="0-1", flags=[nri.MPOL_F_STATIC_NODES]),
    )
    assert changed.cgroups_path == "/pods/b"
    assert changed.seccomp == spec.Seccomp(
        default_action="SCMP_ACT_ALLOW",
        default_errno_ret=0,
        syscalls=(
            spec.SeccompSyscall(
                names=("mkdir",),
                action="SCMP_ACT_ERRNO",
                errno_ret=1,
                args=(spec.SeccompArg(index=1, value=2, value_two=3, op="SCMP_CMP_MASKED_EQ"),),
            ),
        ),
    )
    assert changed.intel_rdt == spec.IntelRdt(clos_id="gold", enable_monitoring=True)
    assert changed.memory_policy == spec.MemoryPolicy(mode="MPOL_BIND", nodes="0-1", flags=("MPOL_F_STATIC_NODES",))


def test_resources_are_set_and_the_rest_stays() -> None:
    resources = linux(
        resources=nri.LinuxResources(
            memory=nri.LinuxMemory(limit=nri.OptionalInt64(value=200)),
            cpu=nri.LinuxCPU(quota=nri.OptionalInt64(value=-1), cpus="0-1"),
            hugepage_limits=[nri.HugepageLimit(page_size="2MB", limit=7)],
            unified={"memory.high": "99"},
            pids=nri.LinuxPids(limit=50),
            devices=[nri.LinuxDeviceCgroup(allow=True, type="c", access="r")],
        )
    ).resources
    assert resources == spec.Resources(
        devices=(spec.DeviceRule(allow=False, access="rwm"), spec.DeviceRule(allow=True, type="c", access="r")),
        memory=spec.MemoryResources(limit=200, swap=200),
        cpu=spec.CpuResources(quota=-1, cpus="0-1"),
        hugepage_limits=(spec.HugepageLimit(page_size="2MB", limit=7),),
        unified={"memory.high": "99"},
        pids=spec.PidsResources(limit=50),
    )


def test_a_memory_limit_of_0_is_none_asked_for() -> None:
    wanted = nri.LinuxResources(memory=nri.LinuxMemory(limit=nri.OptionalInt64(value=0)))
    assert adjusted_resources(spec.Resources(), wanted) == spec.Resources()


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        (nri.ContainerAdjustment(CDI_devices=[nri.CDIDevice(name="vendor.com/net=1")]), "vendor.com/net=1"),
        (nri.ContainerAdjustment(env=[nri.KeyValue(key="A=B", value="1")]), "'A=B'"),
        (nri.ContainerAdjustment(env=[nri.KeyValue(key="A", value="\0")]), "env"),
        (nri.ContainerAdjustment(mounts=[nri.Mount(destination="relative")]), "'relative'"),
        (nri.ContainerAdjustment(hooks=nri.Hooks(prestart=[nri.Hook(path="hook")])), "'hook'"),
        (nri.ContainerAdjustment(linux=nri.LinuxContainerAdjustment(cgroups_path="/a/../../b")), "cgroups_path"),
        (
            nri.ContainerAdjustment(
                linux=nri.LinuxContainerAdjustment(
                    resources=nri.LinuxResources(blockio_class=nri.OptionalString(value="fast"))
                )
            ),
            "'fast'",
        ),
        (
            nri.ContainerAdjustment(
                linux=nri.LinuxContainerAdjustment(resources=nri.LinuxResources(unified={"../x": "1"}))
            ),
            "'../x'",
        ),
        (
            nri.ContainerAdjustment(
                linux=nri.LinuxContainerAdjustment(scheduler=nri.LinuxScheduler(policy=99))  # type: ignore[arg-type]
            ),
            "99 is not known",
        ),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(wanted: nri.ContainerAdjustment, words: str) -> None:
    with pytest.raises(InvalidArgument, match=words.replace("'", ".").replace("/", ".")):
        adjust.apply(BASE, wanted)


def test_cdi_devices_are_injected_where_there_is_somebody_to_do_it() -> None:
    def inject(base: spec.Spec, names: object) -> spec.Spec:
        assert names == ["vendor.com/net=1"]
        return spec.Spec(oci_version=base.oci_version, hostname="injected")

    wanted = nri.ContainerAdjustment(CDI_devices=[nri.CDIDevice(name="vendor.com/net=1")])
    assert adjust.apply(BASE, wanted, inject).hostname == "injected"


numbers = st.integers(1, 2**40)


@given(
    st.builds(
        spec.Resources,
        memory=st.none() | st.builds(spec.MemoryResources, limit=numbers, swap=numbers),
        cpu=st.none()
        | st.builds(
            spec.CpuResources, shares=numbers, quota=numbers, period=numbers, cpus=st.just("0-3"), mems=st.just("0")
        ),
        pids=st.none() | st.builds(spec.PidsResources, limit=numbers),
        hugepage_limits=st.just((spec.HugepageLimit(page_size="2MB", limit=4),)),
        unified=st.just({"memory.high": "1"}),
    )
)
def test_resources_go_to_plugins_and_come_back_the_same(resources: spec.Resources) -> None:
    message = from_spec(resources)
    assert adjusted_resources(spec.Resources(), message) == resources
    assert from_cri(to_cri(message)).memory == message.memory
    assert from_cri(to_cri(message)).cpu == message.cpu
