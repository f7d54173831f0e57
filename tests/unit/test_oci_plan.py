"""The compiler: golden lists of steps, refusals, placement."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from oci import syscalls as sc
from oci.cli.spec_verb import template
from oci.errors import SpecError, Unsupported
from oci.plan import operations as op
from oci.plan.container import plan_container
from oci.plan.exec import plan_exec
from oci.plan.host import CgroupHierarchy, Host, Supplied
from oci.spec import Process, Spec

V1 = Host(cgroups=(
    CgroupHierarchy(name="cpu,cpuacct", controllers="cpu,cpuacct", directory="/sys/fs/cgroup/cpu,cpuacct/x"),
    CgroupHierarchy(name="memory", controllers="memory", directory="/sys/fs/cgroup/memory/x"),
))  # fmt: skip
V2 = Host(cgroups=(CgroupHierarchy(name="cgroup", controllers="", directory="/sys/fs/cgroup/x", version=2),))


def plan(changes: dict[str, Any] | None = None, host: Host = V2, **supplied: Any) -> op.Plan:
    document: dict[str, Any] = copy.deepcopy(template(rootless=False))
    document["process"]["terminal"] = False
    for path, value in (changes or {}).items():
        *parents, last = path.split(".")
        place = document
        for name in parents:
            place = place.setdefault(name, {})
        place[last] = value
    return plan_container("x", Spec.from_json(document), host, Supplied(bundle="/bundle", **supplied))


def position(steps: op.Operations, kind: type) -> int:
    return next(index for index, step in enumerate(steps) if isinstance(step, kind))


def test_the_default_config_step_by_step() -> None:
    made = plan()
    assert made.new_namespaces == {"pid", "network", "ipc", "uts", "mount"}
    masked = [step.path for step in made.setup if isinstance(step, op.MaskPath)]
    assert "/proc/kcore" in masked
    listed = [line for line in made.describe() if not line.startswith(("mask path", "make path"))]
    assert listed == [
        "set loopback interface up",
        "clear the dumpable attribute",
        "join session keyring _ses.x",
        "attach root filesystem /bundle/rootfs",
        "mount proc on /proc",
        "mount tmpfs on /dev",
        "mount devpts on /dev/pts",
        "mount tmpfs on /dev/shm",
        "mount mqueue on /dev/mqueue",
        "mount sysfs on /sys",
        "make a cgroup namespace",
        "mount cgroup2 on /sys/fs/cgroup",
        *(f"make device /dev/{name}" for name in ("null", "zero", "full", "random", "urandom", "tty")),
        *(f"make symlink /dev/{name}" for name in ("fd", "stdin", "stdout", "stderr", "ptmx")),
        "make directory /",
        "make mount /sys/fs/cgroup read-only",
        "set hostname coracle",
        "pivot to the root filesystem",
        "make the root filesystem read-only",
        "reset CPU affinity",
        "look up the home directory of uid 0",
        "set up stdin, stdout and stderr",
        "set RLIMIT_NOFILE",
        "close descriptors",
        "change directory to /",
        "become uid 0 gid 0",
        "change directory to /",
        'exec: "sh"',
        "set no_new_privs",
        "reset signals",
        'exec: "sh"',
    ]


def test_seccomp_is_last_with_no_new_privileges_and_before_the_privileges_go_without() -> None:
    late = plan(seccomp=True).finish
    assert [type(step) for step in late[-2:]] == [op.InstallSeccomp, op.Execute]
    early = plan({"process.noNewPrivileges": False}, seccomp=True).finish
    assert position(early, op.InstallSeccomp) < position(early, op.SetPrivileges)


def test_cgroup_namespace_is_made_inside_the_cgroup() -> None:
    setup = plan(host=V1, enters=True).setup
    assert position(setup, op.EnterCgroup) == 0
    assert position(setup, op.UnshareCgroup) < position(setup, op.MountFilesystem) + 20
    waits = plan(host=V1, awaits=True).setup
    assert position(waits, op.AwaitAttach) + 1 == position(waits, op.UnshareCgroup)
    no_mount = plan({"mounts": []}, awaits=True)
    assert not any(isinstance(step, (op.AwaitAttach, op.UnshareCgroup)) for step in no_mount.setup)
    assert isinstance(no_mount.finish[0], op.UnshareCgroup)


def test_a_tiny_memory_limit_is_not_charged_for_the_set_up() -> None:
    changes = {"mounts": [], "linux.resources": {"memory": {"limit": 1 << 20}}}
    made = plan(changes, enters=True)
    assert not any(isinstance(step, op.EnterCgroup) for step in made.setup)
    assert isinstance(made.finish[0], op.EnterCgroup)


def test_v1_hierarchies_are_bound_when_the_namespace_is_shared() -> None:
    changes = {"linux.namespaces": [{"type": "mount"}], "hostname": "", "linux.maskedPaths": []}
    binds = [step for step in plan(changes, host=V1).setup if isinstance(step, op.MountBind)]
    assert [(step.source, step.destination) for step in binds] == [
        ("/sys/fs/cgroup/cpu,cpuacct/x", "/sys/fs/cgroup/cpu,cpuacct"),
        ("/sys/fs/cgroup/memory/x", "/sys/fs/cgroup/memory"),
    ]
    links = [step.path for step in plan(changes, host=V1).setup if isinstance(step, op.MakeSymlink)]
    assert "/sys/fs/cgroup/cpu" in links


def test_user_namespaces_open_their_sources_first_and_are_made_by_a_second_clone() -> None:
    mapping = [{"containerID": 0, "hostID": 1000, "size": 10}]
    kinds = ["mount", "pid", "user", "uts"]
    changes = {
        "linux.namespaces": [{"type": kind} for kind in kinds],
        "linux.uidMappings": mapping,
        "linux.gidMappings": mapping,
        "mounts": [{"destination": "/mnt", "source": "/src", "type": "bind", "options": ["bind"]}],
    }
    made = plan(changes)
    assert made.new_namespaces == frozenset()
    sources, clone, wait = made.setup[:3]
    assert isinstance(sources, op.OpenSources)
    assert [bind.source for bind in sources.binds] == ["/src"]
    assert isinstance(clone, op.Reclone)
    assert set(clone.kinds) == set(kinds)
    assert isinstance(wait, op.AwaitMappings)
    assert all(step.bind for step in made.setup if isinstance(step, op.MakeDevice))


def test_descriptors_stand_in_for_paths() -> None:
    changes = {"mounts": [{"destination": "/mnt", "type": "bind", "options": ["ro"]}]}
    made = plan(changes, rootfs=True, mounts=frozenset({0}))
    (root,) = (step for step in made.setup if isinstance(step, op.AttachRoot))
    assert root.path is None
    (mount,) = (step for step in made.setup if isinstance(step, op.MountDescriptor))
    assert (mount.index, mount.options.readonly) == (0, True)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"ociVersion": "2.0.0"}, "ociVersion"),
        ({"process.args": []}, "process.args"),
        ({"process.cwd": "relative"}, "process.cwd"),
        ({"process.user": {"uid": 0xFFFF_FFFF}}, "process.user.uid"),
        ({"process.oomScoreAdj": 1001}, "process.oomScoreAdj"),
        ({"process.env": ["=x"]}, "process.env[0]"),
        ({"process.rlimits": [{"type": "RLIMIT_FOO"}]}, "process.rlimits[0].type"),
        ({"process.rlimits": [{"type": "RLIMIT_AS"}, {"type": "RLIMIT_AS"}]}, "process.rlimits[1].type"),
        ({"process.rlimits": [{"type": "RLIMIT_AS", "soft": 2, "hard": 1}]}, "process.rlimits[0].soft"),
        ({"process.scheduler": {"policy": "SCHED_MAGIC"}}, "process.scheduler.policy"),
        ({"process.ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 8}}, "process.ioPriority.priority"),
        ({"linux.namespaces": [{"type": "pid"}, {"type": "pid"}]}, "linux.namespaces[1].type"),
        ({"linux.namespaces": [{"type": "magic"}]}, "linux.namespaces[0].type"),
        ({"linux.namespaces": [{"type": "pid", "path": "proc/1/ns/pid"}]}, "linux.namespaces[0].path"),
        ({"linux.namespaces": [{"type": "mount"}]}, "hostname"),
        ({"linux.namespaces": [{"type": "uts"}]}, "linux.maskedPaths"),
        ({"linux.timeOffsets": {"boottime": {"secs": 1}}}, "linux.timeOffsets"),
        ({"linux.uidMappings": [{"containerID": 0, "hostID": 0, "size": 1}]}, "linux.uidMappings"),
        ({"linux.rootfsPropagation": "often"}, "linux.rootfsPropagation"),
        ({"linux.sysctl": {"kernel.core_pattern": "x"}}, "linux.sysctl['kernel.core_pattern']"),
        ({"linux.devices": [{"path": "/dev/x", "type": "z"}]}, "linux.devices[0].type"),
        ({"linux.personality": {"domain": "BSD"}}, "linux.personality.domain"),
        ({"linux.memoryPolicy": {"mode": "MPOL_X"}}, "linux.memoryPolicy.mode"),
        ({"linux.memoryPolicy": {"mode": "MPOL_BIND", "nodes": "0-x"}}, "linux.memoryPolicy.nodes"),
        ({"hostname": "a\nb"}, "hostname"),
        ({"mounts": [{"destination": "/", "type": "tmpfs"}]}, "mounts[0].destination"),
        ({"mounts": [{"destination": "/proc", "type": "tmpfs"}]}, "mounts[0]"),
        ({"mounts": [{"destination": "/proc/../proc/sys", "type": "tmpfs"}]}, "mounts[0].destination"),
        ({"mounts": [{"destination": "/x"}]}, "mounts[0].type"),
        ({"mounts": [{"destination": "/x", "type": "bind"}]}, "mounts[0].source"),
        ({"mounts": [{"destination": "/x", "source": "/y", "options": ["bind", "idmap"]}]}, "mounts[0]"),
    ],
)
def test_what_contradicts_itself_is_refused(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(SpecError) as failure:
        plan(changes)
    assert failure.value.field == field


@pytest.mark.parametrize(
    ("name", "value"), [("apparmorProfile", "default"), ("selinuxLabel", "system_u:system_r:container_t:s0")]
)
def test_labels_need_their_module(name: str, value: str) -> None:
    with pytest.raises(Unsupported, match=f"process.{name}"):
        plan({f"process.{name}": value})
    module = {"apparmorProfile": "apparmor", "selinuxLabel": "selinux"}[name]
    (label,) = (
        step
        for step in plan({f"process.{name}": value}, host=Host(lsm=frozenset({module}))).finish
        if isinstance(step, op.SetLsmLabel)
    )
    assert label.value.endswith(value)


def test_a_group_in_resctrl_is_the_callers_to_prepare() -> None:
    with pytest.raises(Unsupported, match=r"linux\.intelRdt"):
        plan({"linux.intelRdt": {"closID": "x"}})
    plan({"linux.intelRdt": {"closID": "x"}}, resctrl=True)


@pytest.mark.parametrize(
    ("devices", "problem"),
    [
        ({"eth1": {"name": "sixteen-letters-"}}, "not a network device's name"),
        ({"eth1": {"name": "a/b"}}, "not a network device's name"),
        ({"eth1": {"name": "a b"}}, "not a network device's name"),
        ({"eth1": {"name": ".."}}, "not a network device's name"),
        ({"eth1": {"name": "a%s"}}, "not a network device's name"),
        ({"eth1": {"name": "a%d%d"}}, "not a network device's name"),
        ({"eth1": {"name": "a"}, "eth2": {"name": "a"}}, "given twice"),
    ],
)
def test_network_devices_have_names_that_the_kernel_takes(devices: dict[str, Any], problem: str) -> None:
    with pytest.raises(SpecError, match=problem):
        plan({"linux.netDevices": devices})


def test_network_devices_need_a_network_namespace() -> None:
    plan({"linux.netDevices": {"eth1": {"name": "a%d"}, "eth2": {"name": "a%d"}, "eth3": {}}})
    with pytest.raises(SpecError, match="network namespace"):
        plan({"linux.netDevices": {"eth1": {}}, "linux.namespaces": [{"type": "mount"}, {"type": "uts"}]})


def test_mount_label_where_there_are_labels() -> None:
    changes = {"linux.mountLabel": "l"}
    for lsm, expected in ((frozenset({"selinux"}), True), (frozenset[str](), False)):
        mounts = [step for step in plan(changes, host=Host(lsm=lsm)).setup if isinstance(step, op.MountFilesystem)]
        labelled = {step.fstype for step in mounts if "context=l" in step.options.data}
        assert labelled == ({"tmpfs", "devpts"} if expected else set())
        assert {step.fstype for step in mounts if step.label} == ({"mqueue"} if expected else set())
        made = plan({"linux.maskedPaths": ["/proc/acpi"], **changes}, host=Host(lsm=lsm))
        assert [step.label for step in made.setup if isinstance(step, op.MaskPath)] == ["l" if expected else ""]


@pytest.mark.parametrize("level", [":s0:c1,c2", ":s0-s0:c0.c1023", ":s0", ""])
def test_message_queues_are_for_all_of_an_ipc_namespace(level: str) -> None:
    made = plan({"linux.mountLabel": f"s:o:t{level}"}, host=Host(lsm=frozenset({"selinux"})))
    labels = [step.label for step in made.setup if isinstance(step, op.MountFilesystem) and step.fstype == "mqueue"]
    assert labels == ["s:o:t:s0" if level else "s:o:t"]


def test_the_tmpfs_of_v1_hierarchies_is_labelled_too() -> None:
    host = Host(cgroups=V1.cgroups, lsm=frozenset({"selinux"}))
    made = plan({"linux.mountLabel": "s:o:t:s0:c1,c2"}, host=host)
    (tmpfs,) = (
        step for step in made.setup if isinstance(step, op.MountFilesystem) and step.destination == "/sys/fs/cgroup"
    )
    assert "context=s:o:t:s0:c1,c2" in tmpfs.options.data


def test_nodes_for_a_user_namespace_are_labelled() -> None:
    changes = {
        "linux.mountLabel": "l",
        "linux.namespaces": [{"type": name} for name in ("user", "mount", "uts")],
        "linux.uidMappings": [{"containerID": 0, "hostID": 1000, "size": 10}],
        "linux.gidMappings": [{"containerID": 0, "hostID": 1000, "size": 10}],
        "linux.devices": [{"path": "/dev/x", "type": "c", "major": 1, "minor": 3}],
    }
    for lsm, expected in ((frozenset({"selinux"}), "l"), (frozenset[str](), "")):
        (sources,) = (s for s in plan(changes, host=Host(lsm=lsm)).setup if isinstance(s, op.OpenSources))
        assert (len(sources.nodes), sources.label) == (1, expected)


def test_the_keyring_has_the_label_of_the_process() -> None:
    host = Host(lsm=frozenset({"selinux"}))
    setup = plan({"process.selinuxLabel": "s:r:t:s0"}, host=host).setup
    keyring = position(setup, op.JoinKeyring)
    assert setup[keyring - 1] == op.SetLsmLabel(module="selinux", attribute="keycreate", value="s:r:t:s0")
    made = plan({"process.selinuxLabel": "s:r:t:s0"}, host=host, no_new_keyring=True)
    assert not any(isinstance(step, op.SetLsmLabel) for step in made.setup)


def test_unknown_capabilities_warn() -> None:
    made = plan({"process.capabilities": {"bounding": ["CAP_KILL", "CAP_MAGIC"]}})
    assert made.warnings == ("capability CAP_MAGIC is unknown and ignored",)
    (privileges,) = (step for step in made.finish if isinstance(step, op.SetPrivileges))
    assert privileges.bounding == 1 << 5


def test_exec_has_the_containers_filter_and_its_own_affinity() -> None:
    process = Process.from_json({"cwd": "/", "args": ["x"], "execCPUAffinity": {"final": "0,2-3"}})
    made = plan_exec(process, Spec(oci_version="1.3.0"), Host(), Supplied(enters=True), user_namespace=False)
    assert [type(step) for step in made.setup] == [op.HideFromPeers, op.EnterCgroup, op.JoinContainer]
    (affinity,) = (step for step in made.finish if isinstance(step, op.ResetAffinity))
    assert affinity.cpus == {0, 2, 3}


def test_an_initial_affinity_is_the_first_step_and_stays_without_a_final_one() -> None:
    process = Process.from_json({"cwd": "/", "args": ["x"], "execCPUAffinity": {"initial": "1"}})
    made = plan_exec(process, Spec(oci_version="1.3.0"), Host(), Supplied(enters=True), user_namespace=False)
    assert made.setup[0] == op.ResetAffinity(cpus=frozenset((1,)))
    assert [step.cpus for step in made.finish if isinstance(step, op.ResetAffinity)] == [{1}]
    bad = Process.from_json({"cwd": "/", "args": ["x"], "execCPUAffinity": {"initial": "1-", "final": "0"}})
    with pytest.raises(SpecError, match=r"execCPUAffinity\.initial"):
        plan_exec(bad, Spec(oci_version="1.3.0"), Host(), Supplied(), user_namespace=False)


def test_default_propagation_follows_the_roots() -> None:
    mount = {"destination": "/m", "source": "/s", "options": ["bind"]}
    for mode, expected in ((None, (sc.MS_SLAVE, True)), ("rshared", (sc.MS_SHARED, True))):
        changes: dict[str, Any] = {"mounts": [mount]} | ({"linux.rootfsPropagation": mode} if mode else {})
        (bind,) = (step for step in plan(changes).setup if isinstance(step, op.MountBind))
        assert bind.default_propagation == expected
