"""Requests that are wrong: the answer's code says whose fault it is, its words say which field or which name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import grpc
import pytest

from cri.api import runtime_pb2 as pb
from e2e.client import container_config
from e2e.pods import Pod, refused
from tests.system.pods import Pods

NOT_FOUND = grpc.StatusCode.NOT_FOUND
INVALID = grpc.StatusCode.INVALID_ARGUMENT
UNKNOWN_ID = "f" * 64


@pytest.mark.parametrize(
    "call",
    [
        lambda pods: pods.client.pod_status(UNKNOWN_ID),
        lambda pods: pods.client.status(UNKNOWN_ID),
        lambda pods: pods.client.start(UNKNOWN_ID),
        lambda pods: pods.client.exec(UNKNOWN_ID, "true"),
        lambda pods: pods.client.runtime.ContainerStats(pb.ContainerStatsRequest(container_id=UNKNOWN_ID)),
        lambda pods: pods.client.runtime.ReopenContainerLog(pb.ReopenContainerLogRequest(container_id=UNKNOWN_ID)),
        lambda pods: pods.client.runtime.UpdateContainerResources(
            pb.UpdateContainerResourcesRequest(container_id=UNKNOWN_ID)
        ),
        lambda pods: pods.client.create(UNKNOWN_ID, container_config("c", pods.images.busybox), pods.config()),
    ],
)
def test_unknown_ids_are_not_found_and_named(pods: Pods, call: Callable[[Pods], object]) -> None:
    refused(lambda: call(pods), NOT_FOUND, UNKNOWN_ID)


def test_an_unknown_image_is_not_found_and_named(pods: Pods) -> None:
    pod = pods.run()
    missing = f"{pods.images.busybox.partition('/')[0]}/no/such:1"
    refused(lambda: pods.create(pod, "true", image=missing), NOT_FOUND, missing)
    refused(lambda: pods.client.pull(missing), NOT_FOUND, missing)
    status = pods.client.images.ImageStatus(pb.ImageStatusRequest(image=pb.ImageSpec(image=missing)))
    assert not status.HasField("image")


def test_removing_an_unknown_image_is_fine(pods: Pods) -> None:
    pods.client.images.RemoveImage(pb.RemoveImageRequest(image=pb.ImageSpec(image="sha256:" + "0" * 64)))


@pytest.mark.parametrize(
    "reference", ["", "host.example/UPPER", "a//b", "host:port/x", "x@sha256:short", "x:bad tag", "../x"]
)
def test_malformed_references(pods: Pods, reference: str) -> None:
    refused(lambda: pods.client.pull(reference), INVALID, reference)


@pytest.mark.parametrize("field", ["metadata", "name", "uid", "namespace"])
def test_a_pod_needs_its_metadata(pods: Pods, field: str) -> None:
    config = pods.config()
    if field == "metadata":
        config.ClearField("metadata")
    else:
        config.metadata.ClearField(field)  # type: ignore[arg-type]
    refused(lambda: pods.run(config), INVALID, field)


def test_a_container_needs_its_metadata_and_its_image(pods: Pods) -> None:
    pod = pods.run()
    nameless = container_config("", pods.images.busybox, "true")
    refused(lambda: pods.create_from(pod, nameless), INVALID, "metadata")
    imageless = container_config("c", "", "true")
    refused(lambda: pods.create_from(pod, imageless), INVALID, "image")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("memory_limit_in_bytes", -5),
        ("cpu_shares", -1),
        ("cpu_period", -1),
        ("cpu_quota", -7),
        ("oom_score_adj", 5000),
    ],
)
def test_limits_out_of_range(pods: Pods, field: str, value: int) -> None:
    pod = pods.run()
    wrong = pb.LinuxContainerResources(**{field: value})  # type: ignore[arg-type]
    refused(lambda: pods.create(pod, "true", resources=wrong), INVALID, field)


def test_a_group_needs_a_user(pods: Pods) -> None:
    pod = pods.run()
    wrong = pb.LinuxContainerSecurityContext(run_as_group=pb.Int64Value(value=1000))
    refused(lambda: pods.create(pod, "true", security=wrong), INVALID, "run_as_group")


def test_a_user_that_the_image_does_not_have(pods: Pods) -> None:
    pod = pods.run()
    wrong = pb.LinuxContainerSecurityContext(run_as_username="nobody-of-that-name")
    with pytest.raises(grpc.RpcError, match="nobody-of-that-name"):
        create_and_start(pods, pod, security=wrong)


def create_and_start(pods: Pods, pod: Pod, **settings: object) -> None:
    """For what may be refused by either call."""
    pods.client.start(pods.create(pod, "true", **settings).id)


def test_a_capability_that_there_is_none_of(pods: Pods) -> None:
    pod = pods.run()
    wrong = pb.LinuxContainerSecurityContext(capabilities=pb.Capability(add_capabilities=["FLY"]))
    refused(lambda: pods.create(pod, "true", security=wrong), INVALID, "FLY")


def test_mounts_need_a_container_path(pods: Pods) -> None:
    pod = pods.run()
    wrong = pb.Mount(container_path="", host_path="/tmp")
    refused(lambda: pods.create(pod, "true", mounts=[wrong]), INVALID, "container_path")


def test_a_mount_source_that_is_not_there_and_cannot_be_made(pods: Pods, tmp_path: Path) -> None:
    """Volume paths are looked at by the container's init, so the error may come with the start."""
    link = tmp_path / "link"
    link.symlink_to("/no/such/source")
    pod = pods.run()
    with pytest.raises(grpc.RpcError) as caught:
        create_and_start(pods, pod, mounts=[pb.Mount(container_path="/x", host_path=str(link))])
    assert isinstance(caught.value, grpc.Call)
    assert caught.value.code() is INVALID
    assert f"{link} does not exist" in (caught.value.details() or "")


def test_sysctls_that_are_not_the_pods_to_set(pods: Pods) -> None:
    config = pods.config()
    config.linux.sysctls["kernel.panic"] = "1"
    refused(lambda: pods.run(config), INVALID, "kernel.panic")


def test_an_unknown_runtime_handler(pods: Pods) -> None:
    request = pb.RunPodSandboxRequest(config=pods.config(), runtime_handler="no-such-handler")
    refused(lambda: pods.client.runtime.RunPodSandbox(request), INVALID, "no-such-handler")


def test_an_ambiguous_prefix_is_said_to_be_one(pods: Pods) -> None:
    by_first: dict[str, list[str]] = {}
    for _ in range(17):
        pod = pods.run(pods.config(host_network=True))
        by_first.setdefault(pod.id[0], []).append(pod.id)
    prefix = next(first for first, ids in by_first.items() if len(ids) > 1)
    with pytest.raises(grpc.RpcError, match=r"ambiguous|more than one|several"):
        pods.client.pod_status(prefix)


def test_nothing_is_left_of_what_was_refused(pods: Pods) -> None:
    """The fixture compares the daemon's directories before and after: this pod's failures are many."""
    pod = pods.run()
    for _ in range(5):
        refused(lambda: pods.create(pod, "true", image="nowhere.example/x:1"), NOT_FOUND)
    assert pods.client.containers() == []
