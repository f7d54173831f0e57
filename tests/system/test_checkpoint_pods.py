"""CheckpointContainer, CheckpointPod and RestorePod against a daemon; without a CRIU that works here, what they say."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import grpc
import pytest

from cri.api import runtime_pb2 as pb
from e2e.daemon import Daemon
from e2e.images.catalog import ImageNames
from e2e.pods import Container, Pod, refused, until
from oci.checkpoint import criu
from tests.system.criu_here import reason_against
from tests.system.pods import Pods

needs_criu = pytest.mark.skipif(bool(reason_against()), reason=reason_against())
COUNTER = ("sh", "-c", "echo mine > /made; rm -r /var/www; i=0; while :; do i=$((i+1)); echo $i; sleep 0.05; done")


@pytest.fixture(scope="module")
def daemon(make_daemon: Callable[..., Daemon], images: ImageNames) -> Daemon:
    started = make_daemon(flags=(f"--runtime-criu={criu.find() or '/nonexistent/criu'}",))
    started.client.pull(images.busybox)
    return started


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    made = tmp_path / "out"
    made.mkdir()
    return made


def counted(container: Container) -> list[int]:
    return [int(text) for text in container.text()]


def has_counted(container: Container) -> bool:
    return container.log.exists() and len(container.log.read_text().splitlines()) > 5


def running_counter(pods: Pods, pod: Pod, name: str = "main") -> Container:
    container = pods.start(pod, *COUNTER, name=name)
    until(partial(has_counted, container))
    return container


def checkpoint_pod(pods: Pods, request: pb.CheckpointPodRequest) -> pb.CheckpointPodResponse:
    return pods.client.runtime.CheckpointPod(request, timeout=60)


@needs_criu
class TestContainers:
    def test_the_archive_is_what_others_make_and_the_container_runs_on(self, pods: Pods, directory: Path) -> None:
        container = running_counter(pods, pods.run())
        location = directory / "c.tar"
        pods.client.runtime.CheckpointContainer(
            pb.CheckpointContainerRequest(container_id=container.id, location=str(location), timeout=20)
        )
        at = len(counted(container))
        until(lambda: len(counted(container)) > at + 3)
        assert pods.client.status(container.id).state == pb.CONTAINER_RUNNING
        assert location.stat().st_mode & 0o777 == 0o600
        with tarfile.open(location) as tar:
            names = tar.getnames()
            assert {"spec.dump", "config.dump", "rootfs-diff.tar", "deleted.files", "stats-dump"} <= set(names)
            assert "checkpoint/inventory.img" in names
            described = tar.extractfile("config.dump")
            deleted = tar.extractfile("deleted.files")
            assert described is not None
            assert deleted is not None
            assert json.load(described)["id"] == container.id
            assert "/var/www" in json.load(deleted)
        assert [path.name for path in directory.iterdir()] == ["c.tar"]

    def test_only_a_running_one_to_an_absolute_path(self, pods: Pods, directory: Path) -> None:
        container = pods.create(pods.run(), *COUNTER)
        for location, code, word in (
            ("c.tar", grpc.StatusCode.INVALID_ARGUMENT, "absolute"),
            (f"{directory}/none/c.tar", grpc.StatusCode.INVALID_ARGUMENT, "no directory"),
            (f"{directory}/c.tar", grpc.StatusCode.FAILED_PRECONDITION, "is created"),
        ):
            request = pb.CheckpointContainerRequest(container_id=container.id, location=location)
            refused(partial(pods.client.runtime.CheckpointContainer, request), code, word)
        assert not list(directory.iterdir())


@needs_criu
class TestPods:
    def test_a_pod_goes_on_elsewhere(self, pods: Pods, directory: Path) -> None:
        pod = pods.run()
        first, second = running_counter(pods, pod, "first"), running_counter(pods, pod, "second")
        checkpoint_pod(pods, pb.CheckpointPodRequest(pod_sandbox_id=pod.id, output_path=str(directory)))
        seen = len(counted(first)), len(counted(second))

        config = pods.config()
        restored = pods.client.runtime.RestorePod(
            pb.RestorePodRequest(
                checkpoint_path=str(directory), config=config, container_configs=[first.config, second.config]
            ),
            timeout=60,
        )
        pods.made(restored.pod_sandbox_id)
        assert [one.name for one in restored.restored_containers] == ["first", "second"]
        for one, original, most in zip(restored.restored_containers, (first, second), seen, strict=True):
            assert pods.client.status(one.container_id).state == pb.CONTAINER_CREATED
            pods.client.start(one.container_id)
            again = Container(
                id=one.container_id, config=original.config, log=Path(config.log_directory) / original.config.log_path
            )
            until(partial(has_counted, again))
            numbers = counted(again)
            assert 5 < numbers[0] <= most + 1
            assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
            done = pods.client.exec(one.container_id, "sh", "-c", "cat /made; ls /var")
            assert done.stdout.split()[0] == b"mine"
            assert b"www" not in done.stdout
            pods.client.stop(one.container_id, timeout=0)
            assert pods.client.status(one.container_id).exit_code == 137

    def test_what_is_wrong_with_a_request(self, pods: Pods, directory: Path) -> None:
        pod = pods.run()
        container = running_counter(pods, pod)
        invalid = grpc.StatusCode.INVALID_ARGUMENT
        request = pb.CheckpointPodRequest(pod_sandbox_id=pod.id, output_path=str(directory))
        refused(lambda: pods.client.runtime.CheckpointPod(request, timeout=None), invalid, "deadline")
        wrong = pb.CheckpointPodRequest(pod_sandbox_id=pod.id, output_path=str(directory), options={"fast": "yes"})
        refused(lambda: checkpoint_pod(pods, wrong), invalid, "fast")
        (directory / "x").touch()
        refused(lambda: checkpoint_pod(pods, request), invalid, "empty directory")
        (directory / "x").unlink()
        checkpoint_pod(pods, request)
        config = pods.config()
        other = pb.ContainerConfig()
        other.CopyFrom(container.config)
        other.metadata.name = "other"
        restore = pb.RestorePodRequest(checkpoint_path=str(directory), config=config, container_configs=[other])
        refused(lambda: pods.client.runtime.RestorePod(restore, timeout=60), invalid, "names")

    def test_a_restore_that_fails_leaves_nothing(self, pods: Pods, directory: Path) -> None:
        pod = pods.run()
        container = running_counter(pods, pod)
        checkpoint_pod(pods, pb.CheckpointPodRequest(pod_sandbox_id=pod.id, output_path=str(directory)))
        restore = pb.RestorePodRequest(
            checkpoint_path=str(directory), config=pods.config(), container_configs=[container.config]
        )
        # A root file system of another container, in which the processes cannot find their files.
        (directory / "0.tar").write_bytes((directory / "0.tar").read_bytes()[:10240])
        with pytest.raises(grpc.RpcError):
            pods.client.runtime.RestorePod(restore, timeout=60)
        assert [each.id for each in pods.client.pods()] == [pod.id]


class TestWithoutCriu:
    def test_the_texts_that_the_kubelets_tests_know(self, make_daemon: Callable[..., Daemon], tmp_path: Path) -> None:
        broken = tmp_path / "criu"
        broken.write_text("#!/bin/sh\necho 'Error (criu/x.c:1): no such kernel' >&2\nexit 1\n")
        broken.chmod(0o755)
        client = make_daemon(flags=("--runtime-criu=/nonexistent/criu",)).client
        for name, request in (
            ("CheckpointContainer", pb.CheckpointContainerRequest(container_id="x")),
            ("CheckpointPod", pb.CheckpointPodRequest(pod_sandbox_id="x")),
            ("RestorePod", pb.RestorePodRequest()),
        ):
            call = getattr(client.runtime, name)
            text = refused(partial(call, request), grpc.StatusCode.UNIMPLEMENTED)
            assert text == f"method {name} not implemented"
        client = make_daemon(flags=(f"--runtime-criu={broken}",)).client
        text = refused(
            lambda: client.runtime.CheckpointContainer(pb.CheckpointContainerRequest(container_id="x")),
            grpc.StatusCode.UNKNOWN,
        )
        assert text == f"checkpoint/restore support not available: {broken} check: no such kernel"
