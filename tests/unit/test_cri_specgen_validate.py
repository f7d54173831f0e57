from __future__ import annotations

from collections.abc import Callable

import pytest

from cri.api import runtime_pb2 as api
from cri.errors import InvalidArgument
from cri.specgen.validate import check_container_config, check_resources, check_sandbox_config


def sandbox() -> api.PodSandboxConfig:
    return api.PodSandboxConfig(metadata=api.PodSandboxMetadata(name="n", namespace="ns", uid="u"))


def container() -> api.ContainerConfig:
    return api.ContainerConfig(metadata=api.ContainerMetadata(name="c"), image=api.ImageSpec(image="sha256:1"))


def test_the_smallest_configurations_pass() -> None:
    check_sandbox_config(sandbox())
    check_container_config(container())


SANDBOX_CASES: dict[str, Callable[[api.PodSandboxConfig], object]] = {
    "config.metadata:": lambda c: c.ClearField("metadata"),
    "config.metadata.name:": lambda c: c.metadata.ClearField("name"),
    "config.metadata.uid:": lambda c: setattr(c.metadata, "uid", "a\nb"),
    "config.hostname:": lambda c: setattr(c, "hostname", "h" * 65),
    "config.log_directory:": lambda c: setattr(c, "log_directory", "var/log"),
    "config.port_mappings[0].host_port:": lambda c: c.port_mappings.add(container_port=80, host_port=70000),
    "config.port_mappings[0].container_port:": lambda c: c.port_mappings.add(container_port=-1),
    "config.dns_config.servers:": lambda c: c.dns_config.servers.append("1.1.1.1\nsearch evil"),
    "config.linux.security_context.run_as_group:": lambda c: setattr(c.linux.security_context.run_as_group, "value", 5),
    "config.linux.cgroup_parent:": lambda c: setattr(c.linux, "cgroup_parent", "/a/../../b"),
    "config.linux.security_context.namespace_options.userns_options.mode:": lambda c: setattr(
        c.linux.security_context.namespace_options.userns_options, "mode", api.TARGET
    ),
    "config.linux.security_context.namespace_options.userns_options.uids: needs exactly one": lambda c: (
        c.linux.security_context.namespace_options.userns_options.uids.extend(
            [api.IDMapping(host_id=1, length=1), api.IDMapping(host_id=5, length=1)]
        )
    ),
    "config.linux.resources.memory_limit_in_bytes:": lambda c: setattr(c.linux.resources, "memory_limit_in_bytes", -1),
}


@pytest.mark.parametrize("field", SANDBOX_CASES)
def test_a_sandbox_is_refused_naming_the_field(field: str) -> None:
    config = sandbox()
    SANDBOX_CASES[field](config)
    with pytest.raises(InvalidArgument) as refused:
        check_sandbox_config(config)
    assert str(refused.value).startswith(field)


def mount(**fields: object) -> Callable[[api.ContainerConfig], object]:
    return lambda c: c.mounts.add(**{"container_path": "/x", "host_path": "/y", **fields})


CONTAINER_CASES: dict[str, Callable[[api.ContainerConfig], object]] = {
    "config.metadata:": lambda c: c.ClearField("metadata"),
    "config.image.image:": lambda c: c.ClearField("image"),
    "config.log_path: '../x'": lambda c: setattr(c, "log_path", "../x"),
    "config.log_path: '/x'": lambda c: setattr(c, "log_path", "/x"),
    "config.linux.security_context.run_as_group:": lambda c: setattr(c.linux.security_context.run_as_group, "value", 5),
    "config.linux.security_context.run_as_user:": lambda c: setattr(
        c.linux.security_context.run_as_user, "value", 1 << 32
    ),
    "config.linux.security_context.supplemental_groups:": lambda c: c.linux.security_context.supplemental_groups.append(
        -1
    ),
    "config.linux.resources.cpu_period:": lambda c: setattr(c.linux.resources, "cpu_period", 999),
    "config.linux.resources.cpu_quota:": lambda c: setattr(c.linux.resources, "cpu_quota", -2),
    "config.linux.resources.oom_score_adj:": lambda c: setattr(c.linux.resources, "oom_score_adj", 1001),
    "config.linux.resources.cpuset_cpus:": lambda c: setattr(c.linux.resources, "cpuset_cpus", "0-3;x"),
    "config.linux.resources.unified:": lambda c: c.linux.resources.unified.update({"../memory.max": "1"}),
    "config.mounts[0].container_path:": mount(container_path=""),
    "config.mounts[0].mount_options:": mount(mount_options=["noexec", "rw"]),
    "config.mounts[0].host_path:": mount(host_path="relative"),
    "config.mounts[0].readonly:": mount(host_path="", image=api.ImageSpec(image="a")),
    "config.mounts[0].host_path: cannot": mount(readonly=True, image=api.ImageSpec(image="a")),
    "config.mounts[0].image_sub_path:": mount(
        host_path="", readonly=True, image=api.ImageSpec(image="a"), image_sub_path="a/../../b"
    ),
    "config.mounts[0].recursive_read_only: needs readonly": mount(recursive_read_only=True),
    "config.mounts[0].recursive_read_only: needs private": mount(
        recursive_read_only=True, readonly=True, propagation=api.PROPAGATION_HOST_TO_CONTAINER
    ),
}


@pytest.mark.parametrize("field", CONTAINER_CASES)
def test_a_container_is_refused_naming_the_field(field: str) -> None:
    config = container()
    CONTAINER_CASES[field](config)
    with pytest.raises(InvalidArgument) as refused:
        check_container_config(config)
    assert str(refused.value).startswith(field)


def test_run_as_group_is_fine_beside_a_user_name() -> None:
    config = container()
    config.linux.security_context.run_as_group.value = 5
    config.linux.security_context.run_as_username = "www-data"
    check_container_config(config)


def test_updates_are_checked_too() -> None:
    with pytest.raises(InvalidArgument, match=r"linux.cpu_shares: -5 is negative"):
        check_resources(api.LinuxContainerResources(cpu_shares=-5))


def users(host_id: int = 1, length: int = 1, **namespaces: api.NamespaceMode.ValueType) -> api.PodSandboxConfig:
    config = sandbox()
    options = config.linux.security_context.namespace_options
    mapping = [api.IDMapping(host_id=host_id, length=length)]
    options.userns_options.CopyFrom(api.UserNamespace(mode=api.POD, uids=mapping, gids=mapping))
    for name, mode in namespaces.items():
        setattr(options, name, mode)
    return config


def test_a_pod_may_have_users_of_its_own() -> None:
    check_sandbox_config(users(host_id=100_000, length=65536, pid=api.CONTAINER))


def test_users_go_to_the_hosts_last_id_and_not_beyond() -> None:
    check_sandbox_config(users(host_id=0xFFFF_FFFF - 5, length=5))
    with pytest.raises(InvalidArgument, match="beyond"):
        check_sandbox_config(users(host_id=0xFFFF_FFFF - 5, length=6))


@pytest.mark.parametrize("name", ["network", "pid", "ipc"])
def test_users_of_its_own_do_not_go_with_the_hosts_namespaces(name: str) -> None:
    with pytest.raises(InvalidArgument, match=f"the host's {name} namespace"):
        check_sandbox_config(users(**{name: api.NODE}))
