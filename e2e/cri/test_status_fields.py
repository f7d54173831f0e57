"""ContainerStatus and the list entry, field by field."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cri.api import runtime_pb2 as pb
from e2e.client import Client
from e2e.cri.pods import Pods, security
from e2e.pods import Container, Pod


@pytest.fixture
def pod(pods: Pods) -> Pod:
    return pods.run()


def test_what_the_client_demands_is_there(pods: Pods, client: Client, pod: Pod) -> None:
    """client: id, metadata.name, created_at, image.image and image_ref must not be empty."""
    status = client.status(pods.create(pod, "true").id)
    assert status.id
    assert status.metadata.name == "main"
    assert status.created_at > 0
    assert status.image.image
    assert status.image_ref


def test_labels_and_annotations_come_back_unaltered(pods: Pods, client: Client, pod: Pod) -> None:
    """proto: unaltered. kubelet: restart count, hash and termination path live in them."""
    config = pods.container_config("true")
    config.labels.update({"io.kubernetes.container.name": "main", "empty": ""})
    config.annotations.update({"io.kubernetes.container.hash": "8f3e", "text": "line\nline" * 1000})
    container = pods.create_from(pod, config)
    status = client.status(container.id)
    [entry] = [one for one in client.containers() if one.id == container.id]
    for shown in (status, entry):
        assert shown.metadata == config.metadata
        assert dict(shown.labels) == dict(config.labels)
        assert dict(shown.annotations) == dict(config.annotations)


def test_the_list_agrees_with_the_status(pods: Pods, client: Client, pod: Pod) -> None:
    container = pods.start(pod)
    status = client.status(container.id)
    [entry] = [one for one in client.containers() if one.id == container.id]
    assert entry.pod_sandbox_id == pod.id
    assert (entry.state, entry.created_at) == (status.state, status.created_at)
    assert (entry.image, entry.image_ref, entry.image_id) == (status.image, status.image_ref, status.image_id)


def test_the_log_path_is_absolute(pods: Pods, client: Client, pod: Pod) -> None:
    """kubelet: it globs and deletes LOG_PATH*; an empty or relative one would be in its own directory."""
    container = pods.create(pod, "true")
    assert client.status(container.id).log_path == str(container.log)


def test_the_mounts_are_those_of_the_request_and_no_others(
    pods: Pods, client: Client, pod: Pod, tmp_path: Path
) -> None:
    """kubelet: it finds the termination message by the mount with that container path, and reads its host path."""
    (tmp_path / "message").write_text("")
    wanted = [
        pb.Mount(container_path="/dev/termination-log", host_path=str(tmp_path / "message")),
        pb.Mount(container_path="/data", host_path=str(tmp_path), readonly=True),
    ]
    container = pods.create(pod, "true", mounts=wanted)
    shown = {m.container_path: (m.host_path, m.readonly) for m in client.status(container.id).mounts}
    assert shown == {m.container_path: (m.host_path, m.readonly) for m in wanted}


def test_the_termination_message_reaches_the_host(pods: Pods, pod: Pod, tmp_path: Path) -> None:
    message = tmp_path / "message"
    message.write_text("")
    mount = pb.Mount(container_path="/dev/termination-log", host_path=str(message))
    pods.run_to_end("sh", "-c", "echo why > /dev/termination-log", pod=pod, mounts=[mount])
    assert message.read_text() == "why\n"


def test_the_images_name_is_the_one_that_a_person_gave(pods: Pods, client: Client, pod: Pod) -> None:
    """proto, ImageSpec.user_specified_image: the status shows it while the image is named by its id."""
    config = pods.container_config("true", image=pods.images.busybox_id)
    config.image.user_specified_image = pods.images.busybox
    assert client.status(pods.create_from(pod, config).id).image.image == pods.images.busybox


def test_resources_in_force_are_shown(pods: Pods, client: Client, pod: Pod) -> None:
    """kubelet: containerStatuses[].resources come from here (in-place resize)."""
    wanted = pb.LinuxContainerResources(
        cpu_period=100_000, cpu_quota=50_000, cpu_shares=512, memory_limit_in_bytes=64 << 20
    )
    shown = client.status(pods.create(pod, "true", resources=wanted).id).resources.linux
    for field in ("cpu_period", "cpu_quota", "cpu_shares", "memory_limit_in_bytes"):
        assert getattr(shown, field) == getattr(wanted, field)


def test_the_user_is_shown(pods: Pods, client: Client, pod: Pod) -> None:
    """kubelet: containerStatuses[].user (supplemental groups policy)."""
    context = security(
        run_as_user=pb.Int64Value(value=1000), run_as_group=pb.Int64Value(value=2000), supplemental_groups=[3000]
    )
    user = client.status(pods.start(pod, security=context).id).user.linux
    assert (user.uid, user.gid) == (1000, 2000)
    assert 3000 in user.supplemental_groups


def test_the_effective_stop_signal_is_shown(pods: Pods, client: Client, pod: Pod) -> None:
    """kubelet (ContainerStopSignals): the pod's, else the image's, else TERM."""
    client.pull(pods.images.nginx)
    plain = pods.create(pod, "true", name="plain")
    images = pods.create(pod, "true", name="images", image=pods.images.nginx)
    assert client.status(plain.id).stop_signal == pb.Signal.SIGNAL_SIGTERM
    assert client.status(images.id).stop_signal == pb.Signal.SIGNAL_SIGQUIT


def test_only_a_verbose_status_has_information(pods: Pods, client: Client, pod: Pod) -> None:
    """proto and crictl inspect: JSON under "info", with the process and the runtime specification."""
    container = pods.start(pod)
    assert not _information(client, container, verbose=False)
    info = json.loads(_information(client, container, verbose=True)["info"])
    assert info["pid"] > 0
    assert info["sandboxID"] == pod.id
    assert info["runtimeSpec"]["ociVersion"]


def _information(client: Client, container: Container, *, verbose: bool) -> dict[str, str]:
    request = pb.ContainerStatusRequest(container_id=container.id, verbose=verbose)
    return dict(client.runtime.ContainerStatus(request, timeout=10).info)
