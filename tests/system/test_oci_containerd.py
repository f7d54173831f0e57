"""Debian's containerd with coracle-oci as its runtime binary: pods, logs, exec, signals, limits by its own shim."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cri.api import runtime_pb2 as pb
from e2e import cgroups, leaks
from e2e.client import Client, container_config, pod_config
from e2e.containerd import PeerSettings, running_peer
from e2e.debian import PackageMissing
from e2e.images.catalog import ImageNames
from e2e.registry import RunningRegistry

_PARENT = "/coracle-oci-containerd"


@pytest.fixture(scope="module")
def containerd(
    registry: RunningRegistry, images: ImageNames, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Client]:
    before = leaks.snapshot()
    runtime = Path(sys.executable).parent / "coracle-oci"
    if not runtime.exists():
        pytest.skip(f"{runtime} is not installed")
    settings = PeerSettings(
        directory=tmp_path_factory.mktemp("containerd"),
        registry=registry.address,
        sandbox_image=images.pause,
        bridge="co-oci5",
        subnet="10.126.9.0/24",
        mirrors={},
        runtime_binary=str(runtime),
    )
    cgroups.create(_PARENT)
    try:
        with running_peer(settings) as peer, Client(peer.endpoint) as client:
            client.pull(images.busybox)
            yield client
    except PackageMissing as missing:
        pytest.skip(str(missing))
    finally:
        cgroups.remove(_PARENT)
    left = leaks.leaked(before)
    assert not left, "\n".join(left)


@pytest.fixture
def pod(containerd: Client, tmp_path: Path) -> Iterator[tuple[str, pb.PodSandboxConfig]]:
    config = pod_config("oci", logs=tmp_path, namespace="oci", cgroup_parent=_PARENT)
    sandbox = containerd.run_pod(config)
    yield sandbox, config
    containerd.stop_pod(sandbox)
    containerd.remove_pod(sandbox)


def run(
    client: Client,
    images: ImageNames,
    pod: tuple[str, pb.PodSandboxConfig],
    script: str,
    resources: pb.LinuxContainerResources | None = None,
) -> str:
    sandbox, config = pod
    wanted = container_config("main", images.busybox, "sh", "-c", script, resources=resources)
    container = client.create(sandbox, wanted, config)
    client.start(container)
    return container


def wait_exit(client: Client, container: str) -> pb.ContainerStatus:
    deadline = time.monotonic() + 30
    while (status := client.status(container)).state != pb.ContainerState.CONTAINER_EXITED:
        assert time.monotonic() < deadline, "the container does not end"
        time.sleep(0.05)
    return status


def test_output_and_exit_code(
    containerd: Client, images: ImageNames, pod: tuple[str, pb.PodSandboxConfig], tmp_path: Path
) -> None:
    container = run(containerd, images, pod, "echo out; echo err >&2; exit 7")
    assert wait_exit(containerd, container).exit_code == 7
    log = (tmp_path / "main.log").read_text()
    assert "stdout F out" in log
    assert "stderr F err" in log


def test_exec_sees_the_containers_namespaces_and_fails_as_it_should(
    containerd: Client, images: ImageNames, pod: tuple[str, pb.PodSandboxConfig]
) -> None:
    container = run(containerd, images, pod, "hostname > /tmp/name; sleep 1000")
    answer = containerd.exec(container, "sh", "-c", "cat /tmp/name; cat /proc/1/comm; exit 3")
    assert answer.exit_code == 3
    assert answer.stdout.decode().split()[-1] in ("sh", "sleep")
    containerd.stop(container, timeout=0)
    assert wait_exit(containerd, container).exit_code == 137


def test_a_program_that_is_missing_is_named(
    containerd: Client, images: ImageNames, pod: tuple[str, pb.PodSandboxConfig]
) -> None:
    sandbox, config = pod
    container = containerd.create(sandbox, container_config("main", images.busybox, "/no/such"), config)
    with pytest.raises(Exception, match="no such file or directory"):
        containerd.start(container)


def test_limits_can_be_changed(containerd: Client, images: ImageNames, pod: tuple[str, pb.PodSandboxConfig]) -> None:
    container = run(
        containerd, images, pod, "sleep 1000", resources=pb.LinuxContainerResources(memory_limit_in_bytes=64 << 20)
    )
    containerd.runtime.UpdateContainerResources(
        pb.UpdateContainerResourcesRequest(
            container_id=container, linux=pb.LinuxContainerResources(memory_limit_in_bytes=96 << 20)
        )
    )
    limit = containerd.exec(
        container, "sh", "-c", "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null"
    )
    assert int(limit.stdout.split()[0]) == 96 << 20
