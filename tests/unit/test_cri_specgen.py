from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cri.api import runtime_pb2 as api
from cri.errors import InvalidArgument
from cri.specgen import ContainerInputs, HostFacts, PodFiles, container_spec
from cri.specgen.mounts import container_mounts, image_mounts
from cri.specgen.process import container_args, container_capabilities, container_env, rlimit
from cri.specgen.resources import container_resources, linux_resources
from imagesvc.config import ImageConfig
from oci import spec
from oci.plan.mount_options import parse_options
from oci.syscalls import MOUNT_ATTR_NOEXEC
from oci.users import ResolvedUser

EVERY = ("CAP_CHOWN", "CAP_NET_RAW", "CAP_NET_ADMIN", "CAP_SYS_ADMIN")
DEFAULT = ("CHOWN", "NET_RAW")


def inputs(
    config: api.ContainerConfig | None = None,
    *,
    image: ImageConfig | None = None,
    cgroup_v2: bool = True,
    **changes: str,
) -> ContainerInputs:
    return ContainerInputs(
        config=config or api.ContainerConfig(),
        hostname="web",
        host_network=False,
        host_pid=False,
        pid_namespace=changes.get("pid_namespace", ""),
        image=image or ImageConfig(cmd=("sh",)),
        user=ResolvedUser(uid=5, gid=6, additional_gids=(6, 7), home="/"),
        cgroup="/pods/c",
        files=PodFiles(hostname="/f/hostname", hosts="/f/hosts", resolv_conf="/f/resolv.conf", shm="/f/shm"),
        host=HostFacts(cgroup_v2=cgroup_v2, capabilities=EVERY, apparmor=False),
        default_capabilities=DEFAULT,
    )


@pytest.mark.parametrize(
    ("command", "args", "expected"),
    [
        ([], [], ("entry", "cmd")),
        ([], ["a"], ("entry", "a")),
        (["c"], [], ("c",)),
        (["c"], ["a", "b"], ("c", "a", "b")),
    ],
)
def test_command_replaces_the_entrypoint_and_args_the_cmd(
    command: list[str], args: list[str], expected: tuple[str, ...]
) -> None:
    config = api.ContainerConfig(command=command, args=args)
    assert container_args(config, ("entry",), ("cmd",)) == expected


def test_nothing_to_execute_is_refused() -> None:
    with pytest.raises(InvalidArgument, match=r"config\.command"):
        container_args(api.ContainerConfig(), (), ())


def test_the_container_overrides_the_images_environment() -> None:
    config = api.ContainerConfig(tty=True, envs=[api.KeyValue(key="A", value=b"2"), api.KeyValue(key="B", value=b"")])
    env = container_env(inputs(config, image=ImageConfig(env=("PATH=/x", "A=1"))))
    assert env == ("PATH=/x", "HOSTNAME=web", "TERM=xterm", "A=2", "B=")


@given(st.binary().filter(lambda value: b"\0" not in value))
def test_a_secret_that_is_no_text_arrives_byte_for_byte(value: bytes) -> None:
    env = container_env(inputs(api.ContainerConfig(envs=[api.KeyValue(key="S", value=value)])))
    assert env[-1].encode(errors="surrogateescape") == b"S=" + value


@pytest.mark.parametrize("key", ["", "a=b", "a\0"])
def test_what_is_no_variable_name_is_refused(key: str) -> None:
    with pytest.raises(InvalidArgument, match=r"config\.envs"):
        container_env(inputs(api.ContainerConfig(envs=[api.KeyValue(key=key)])))


@pytest.mark.parametrize(
    ("add", "drop", "expected"),
    [
        ([], [], {"CAP_CHOWN", "CAP_NET_RAW"}),
        (["net_admin"], [], {"CAP_CHOWN", "CAP_NET_RAW", "CAP_NET_ADMIN"}),
        ([], ["CAP_NET_RAW"], {"CAP_CHOWN"}),
        ([], ["ALL"], set()),
        (["NET_ADMIN"], ["ALL"], {"CAP_NET_ADMIN"}),
        (["ALL"], [], set(EVERY)),
        (["ALL"], ["CHOWN"], set(EVERY) - {"CAP_CHOWN"}),
    ],
)
def test_capabilities_added_and_dropped(add: list[str], drop: list[str], expected: set[str]) -> None:
    wanted = api.Capability(add_capabilities=add, drop_capabilities=drop)
    held = container_capabilities(wanted, privileged=False, default=DEFAULT, every=EVERY)
    assert set(held.bounding) == set(held.permitted) == set(held.effective) == expected
    assert held.inheritable == held.ambient == ()


def test_privileged_means_the_daemons_own_set_and_no_more() -> None:
    held = container_capabilities(api.Capability(), privileged=True, default=DEFAULT, every=EVERY)
    assert held.bounding == EVERY


def test_a_volume_replaces_the_default_mount_at_its_place() -> None:
    config = api.ContainerConfig(mounts=[api.Mount(container_path="/etc/hosts/", host_path="/k/hosts")])
    mounts = [m for m in container_mounts(inputs(config)) if m.destination == "/etc/hosts"]
    assert [m.source for m in mounts] == ["/k/hosts"]


def test_parents_are_mounted_before_children_whatever_the_order() -> None:
    paths = ["/a/b/c", "/a", "/", "/a/b"]
    config = api.ContainerConfig(mounts=[api.Mount(container_path=p, host_path="/h") for p in paths])
    assert [m.destination for m in container_mounts(inputs(config))][-4:] == ["/", "/a", "/a/b", "/a/b/c"]


def test_mount_options_follow_the_cri() -> None:
    config = api.ContainerConfig(
        mounts=[
            api.Mount(container_path="/a", host_path="/h", propagation=api.PROPAGATION_BIDIRECTIONAL),
            api.Mount(container_path="/b", host_path="/h", readonly=True, recursive_read_only=True),
        ]
    )
    shared, recursive = container_mounts(inputs(config))[-2:]
    assert shared.options == ("rbind", "rshared", "rw")
    assert set(recursive.options) == {"rbind", "rprivate", "rro", "ro"}
    assert container_spec(inputs(config)).linux.rootfs_propagation == "rshared"


def test_an_image_volume_has_no_source_and_is_read_only() -> None:
    config = api.ContainerConfig(
        mounts=[api.Mount(container_path="/data", readonly=True, image=api.ImageSpec(image="i"))]
    )
    mount = container_mounts(inputs(config))[-1]
    assert (mount.source, "ro" in mount.options) == (None, True)
    assert list(image_mounts(config)) == ["/data"]


def test_privileged_opens_sysfs_paths_and_devices() -> None:
    config = api.ContainerConfig()
    config.linux.security_context.privileged = True
    config.linux.security_context.masked_paths.append("/proc/kcore")
    made = container_spec(inputs(config))
    assert made.linux.masked_paths == ()
    assert "rw" in next(m for m in made.mounts if m.destination == "/sys").options
    assert made.linux.resources is not None
    assert made.linux.resources.devices == (spec.DeviceRule(allow=True, access="rwm"),)


def test_namespaces_are_the_containers_own_only() -> None:
    kinds = [(n.type, n.path) for n in container_spec(inputs(pid_namespace="/proc/9/ns/pid")).linux.namespaces]
    assert kinds == [("mount", None), ("pid", "/proc/9/ns/pid"), ("cgroup", None)]
    assert [n.type for n in container_spec(inputs(cgroup_v2=False)).linux.namespaces] == ["mount", "pid"]


def test_zero_means_not_said() -> None:
    assert linux_resources(api.LinuxContainerResources(), inputs().host) == spec.Resources()


def test_limits_are_passed_on() -> None:
    wanted = api.LinuxContainerResources(
        cpu_period=1000, cpu_quota=-1, cpu_shares=2, memory_limit_in_bytes=4096, cpuset_cpus="0", unified={"a.b": "1"}
    )
    made = linux_resources(wanted, inputs().host)
    assert made.cpu == spec.CpuResources(period=1000, quota=-1, shares=2, cpus="0")
    assert made.memory == spec.MemoryResources(limit=4096)
    assert made.unified == {"a.b": "1"}
    assert linux_resources(wanted, inputs(cgroup_v2=False).host).unified == {}


def test_only_a_real_wish_for_huge_pages_reaches_a_host_that_cannot_limit_them() -> None:
    limits = [api.HugepageLimit(page_size="2MB", limit=0), api.HugepageLimit(page_size="1GB", limit=1 << 30)]
    wanted = api.LinuxContainerResources(hugepage_limits=limits)
    without = replace(inputs().host, hugetlb=False)
    assert [limit.page_size for limit in linux_resources(wanted, without).hugepage_limits] == ["1GB"]
    assert [limit.limit for limit in linux_resources(wanted, inputs().host).hugepage_limits] == [0, 1 << 30]


def test_an_unprivileged_container_may_only_use_the_harmless_devices() -> None:
    rules = container_resources(inputs()).devices
    assert rules[0] == spec.DeviceRule(allow=False, access="rwm")
    assert not any(rule.allow and rule.type in (None, "a") for rule in rules)


def test_the_specification_survives_the_trip_through_json() -> None:
    made = container_spec(inputs(api.ContainerConfig(envs=[api.KeyValue(key="S", value=b"\xff")])))
    assert spec.Spec.from_json(spec.to_json(made)) == made


def test_a_pods_users_are_mapped_and_its_devices_are_the_hosts() -> None:
    users = spec.IdMapping(container_id=0, host_id=100_000, size=65536)
    devices = (spec.Device(path="/dev/mine", type="c", major=1, minor=5), spec.Device(path="/dev/ptmx", type="c"))
    made = container_spec(replace(inputs(), users=users, devices=devices, device_sources={"/dev/mine": "/dev/zero"}))
    assert made.linux.uid_mappings == made.linux.gid_mappings == (users,)
    assert made.linux.devices == ()
    by_place = {mount.destination: mount for mount in made.mounts}
    assert by_place["/dev/mine"].source == "/dev/zero"
    assert "/dev/ptmx" not in by_place
    assert "gid=5" in by_place["/dev/pts"].options


def test_a_group_that_is_not_mapped_cannot_own_the_terminals() -> None:
    users = spec.IdMapping(container_id=0, host_id=100_000, size=5)
    made = container_spec(replace(inputs(), users=users))
    (terminals,) = (mount for mount in made.mounts if mount.destination == "/dev/pts")
    assert "gid=5" not in terminals.options


def test_options_of_a_mount_hold_for_all_below_it_and_come_last() -> None:
    mount = api.Mount(container_path="/v", host_path="/h", mount_options=["exec", "noexec"])
    image = api.Mount(container_path="/i", image=api.ImageSpec(image="i"), readonly=True, mount_options=["nosuid"])
    made = {m.destination: m.options for m in container_mounts(inputs(api.ContainerConfig(mounts=[mount, image])))}
    assert made["/v"][-4:] == ("exec", "rexec", "noexec", "rnoexec")
    assert made["/i"][-2:] == ("nosuid", "rnosuid")
    options = parse_options(made["/v"])
    assert options.set & MOUNT_ATTR_NOEXEC
    assert options.recursive_set & MOUNT_ATTR_NOEXEC


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("nofile=1024:524288", spec.Rlimit(type="RLIMIT_NOFILE", soft=1024, hard=524288)),
        ("core=0", spec.Rlimit(type="RLIMIT_CORE", soft=0, hard=0)),
        ("memlock=5:unlimited", spec.Rlimit(type="RLIMIT_MEMLOCK", soft=5, hard=2**64 - 1)),
    ],
)
def test_default_limits_reach_the_process(text: str, expected: spec.Rlimit) -> None:
    process = container_spec(replace(inputs(), ulimits=(text,))).process
    assert process is not None
    assert process.rlimits == (expected,) == (rlimit(text),)
