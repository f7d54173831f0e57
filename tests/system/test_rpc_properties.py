"""Random and boundary messages to every call of the CRI: no defect shows, nothing hangs, nothing is left.

A defect is what the wrapper could not explain: the status INTERNAL, or a Python exception in the text. A refusal of
any other kind is an answer. What a call made is started where that is possible, and removed.

`HYPOTHESIS_PROFILE=long` tries a hundred times as many messages; both profiles draw the same ones in every run.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import grpc
import pytest
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from cri.api import runtime_pb2 as pb
from e2e import cgroups
from e2e.client import Client, container_config, pod_config
from e2e.daemon import Daemon
from e2e.images.catalog import ImageNames
from e2e.pods import SERVE
from tests.system.message_strategies import filled, messages, mutations

_LONG: Final = os.environ.get("HYPOTHESIS_PROFILE") == "long"
_EXAMPLES: Final = 2500 if _LONG else 25
#: Seconds after which a call counts as hanging. The longest that any of these may take by right is a second.
_DEADLINE: Final = 20.0
_LISTEN: Final = 0.05

_METHODS: Final = [
    method for name in ("RuntimeService", "ImageService") for method in pb.DESCRIPTOR.services_by_name[name].methods
]
_POD: Final = pod_config("p", logs=Path("@tmp"), cgroup_parent="@cgroup")
_POD.metadata.uid = "@uid"
_CONTAINER: Final = container_config("c", "@image", "true")

#: Requests that make sense, to be changed in a few places.
_TEMPLATES: Final[Mapping[str, Message]] = {
    "RunPodSandbox": pb.RunPodSandboxRequest(config=_POD),
    "StopPodSandbox": pb.StopPodSandboxRequest(pod_sandbox_id="@pod"),
    "RemovePodSandbox": pb.RemovePodSandboxRequest(pod_sandbox_id="@stopped"),
    "PodSandboxStatus": pb.PodSandboxStatusRequest(pod_sandbox_id="@pod", verbose=True),
    "CreateContainer": pb.CreateContainerRequest(pod_sandbox_id="@pod", config=_CONTAINER, sandbox_config=_POD),
    "StartContainer": pb.StartContainerRequest(container_id="@created"),
    "StopContainer": pb.StopContainerRequest(container_id="@running", timeout=1),
    "RemoveContainer": pb.RemoveContainerRequest(container_id="@exited"),
    "ContainerStatus": pb.ContainerStatusRequest(container_id="@running", verbose=True),
    "UpdateContainerResources": pb.UpdateContainerResourcesRequest(
        container_id="@running", linux=pb.LinuxContainerResources(cpu_shares=512)
    ),
    "UpdatePodSandboxResources": pb.UpdatePodSandboxResourcesRequest(
        pod_sandbox_id="@pod", resources=pb.LinuxContainerResources(cpu_shares=512)
    ),
    "ReopenContainerLog": pb.ReopenContainerLogRequest(container_id="@running"),
    "ExecSync": pb.ExecSyncRequest(container_id="@running", cmd=["true"], timeout=1),
    "Exec": pb.ExecRequest(container_id="@running", cmd=["true"], stdout=True),
    "Attach": pb.AttachRequest(container_id="@running", stdout=True),
    "PortForward": pb.PortForwardRequest(pod_sandbox_id="@pod", port=[80]),
    "ContainerStats": pb.ContainerStatsRequest(container_id="@running"),
    "PodSandboxStats": pb.PodSandboxStatsRequest(pod_sandbox_id="@pod"),
    "PullImage": pb.PullImageRequest(image=pb.ImageSpec(image="@image"), sandbox_config=_POD),
    "ImageStatus": pb.ImageStatusRequest(image=pb.ImageSpec(image="@image"), verbose=True),
    "RemoveImage": pb.RemoveImageRequest(image=pb.ImageSpec(image="@missing-image")),
    "CheckpointPod": pb.CheckpointPodRequest(pod_sandbox_id="@pod", output_path="@tmp/none"),
    "CheckpointContainer": pb.CheckpointContainerRequest(container_id="@running", location="@tmp/none"),
    "RestorePod": pb.RestorePodRequest(
        checkpoint_path="@tmp/none", config=_POD, container_configs=[_CONTAINER]
    ),
}  # fmt: skip


class Scene:
    """A pod with a container in each state, and a stopped pod; made again when a call has taken one away."""

    def __init__(self, daemon: Daemon, images: ImageNames, directory: Path, cgroup: str) -> None:
        self.daemon = daemon
        self.images = images
        self.directory = directory
        self.cgroup = cgroup
        self.ids: dict[str, str] = {}
        (directory / "file").write_text("x")

    @property
    def client(self) -> Client:
        return self.daemon.client

    def tokens(self) -> dict[str, str]:
        """What the tokens of `message_strategies` stand for now."""
        return {
            **{f"@{name}": value for name, value in self.ids.items()},
            "@running-prefix": self.ids["running"][:12],
            "@pod-prefix": self.ids["pod"][:12],
            "@tmp": str(self.directory),
            "@cgroup": self.cgroup,
            "@uid": str(uuid.uuid4()),
            "@image": self.images.busybox,
            "@image-id": self.images.busybox_id,
            "@image-digest": f"{self.images.busybox.rpartition(':')[0]}@sha256:{'0' * 64}",
            "@missing-image": self.images.busybox.replace("test/", "none/"),
        }

    def restore(self) -> None:
        pods = {pod.id: pod.state for pod in self.client.pods()}
        if pods.get(self.ids.get("stopped", "")) != pb.PodSandboxState.SANDBOX_NOTREADY:
            self.ids["stopped"] = self._pod("stopped")
            self.client.stop_pod(self.ids["stopped"])
        if pods.get(self.ids.get("pod", "")) != pb.PodSandboxState.SANDBOX_READY:
            self.ids["pod"] = self._pod("pod")
        states = {container.id: container.state for container in self.client.containers()}
        for name, wanted in (
            ("running", pb.ContainerState.CONTAINER_RUNNING),
            ("created", pb.ContainerState.CONTAINER_CREATED),
            ("exited", pb.ContainerState.CONTAINER_EXITED),
        ):
            if states.get(self.ids.get(name, "")) != wanted:
                self._container(name)
        if not any(self.images.busybox in image.repo_tags for image in _images(self.client)):
            self.client.pull(self.images.busybox)

    def _pod(self, name: str) -> str:
        self._forget_pod(self.ids.get(name, ""))
        return self.client.run_pod(pod_config(name, logs=self.directory, cgroup_parent=self.cgroup))

    def _container(self, name: str) -> None:
        self.client.remove(self.ids.get(name, "none"))
        command = SERVE if name == "running" else ("true",)
        config = container_config(name, self.images.busybox, *command)
        pod = pb.PodSandboxConfig()
        self.ids[name] = self.client.create(self.ids["pod"], config, pod)
        if name != "created":
            self.client.start(self.ids[name])
        if name == "exited":
            self.client.stop(self.ids[name], timeout=5)

    def _forget_pod(self, sandbox: str) -> None:
        if sandbox:
            self.client.stop_pod(sandbox)
            self.client.remove_pod(sandbox)

    def remove_strangers(self) -> None:
        """Whatever a call made that is not of the scene."""
        mine = set(self.ids.values())
        for container in self.client.containers():
            if container.id not in mine and container.pod_sandbox_id in mine:
                self.client.remove(container.id)
        for pod in self.client.pods():
            if pod.id not in mine:
                self._forget_pod(pod.id)


@pytest.fixture(scope="module")
def scene(daemon: Daemon, images: ImageNames, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    cgroup = f"{daemon.settings.cgroup}-pods"
    cgroups.create(cgroup)
    made = Scene(daemon, images, tmp_path_factory.mktemp("scene"), cgroup)
    pid = daemon.pid
    made.restore()
    yield made
    daemon.client.remove_all()
    cgroups.remove(cgroup)
    assert daemon.pid == pid
    for directory in (daemon.runroot / "sandboxes", daemon.runroot / "bundles", daemon.root / "containers"):
        assert list(directory.iterdir()) == []


@pytest.mark.timeout(7200 if _LONG else 120)
@pytest.mark.parametrize("method", _METHODS, ids=lambda method: method.name)
@given(data=st.data())
@settings(
    max_examples=_EXAMPLES,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
def test_no_message_shows_a_defect(scene: Scene, method: MethodDescriptor, data: st.DataObject) -> None:
    template = _TEMPLATES.get(method.name, GetMessageClass(method.input_type)())
    request = data.draw(st.one_of(mutations(template), messages(method.input_type)))
    scene.restore()
    filled(request, scene.tokens())
    answer = _answer(scene, method, request)
    if isinstance(answer, pb.CreateContainerResponse):
        start = pb.StartContainerRequest(container_id=answer.container_id)
        _call(scene.client.runtime.StartContainer, start, scene.daemon.log)
    scene.remove_strangers()


def test_the_daemon_took_no_harm(scene: Scene) -> None:
    """After all of that (this test is the last of the module) it still does its work."""
    scene.restore()
    assert scene.client.exec(scene.ids["running"], "echo", "fine").stdout == b"fine\n"
    assert scene.client.ready()


def _answer(scene: Scene, method: MethodDescriptor, request: Message) -> object:
    service = scene.client.runtime if method.containing_service.name == "RuntimeService" else scene.client.images
    stub, log = getattr(service, method.name), scene.daemon.log
    if method.name == "GetContainerEvents":
        return _call(lambda request, timeout: list(stub(request, timeout=_LISTEN)), request, log)
    if method.server_streaming:
        return _call(lambda request, timeout: list(stub(request, timeout=timeout)), request, log)
    return _call(stub, request, log)


def _call(stub: Callable[..., Any], request: Message, log: Path) -> object:
    """The answer, or None for a refusal that is no defect."""
    began = time.monotonic()
    try:
        answer: object = stub(request, timeout=_DEADLINE)
    except grpc.RpcError as refusal:
        _check(refusal, time.monotonic() - began, request, log)
        return None
    event("OK")
    return answer


def _check(refusal: grpc.RpcError, seconds: float, request: Message, log: Path) -> None:
    assert isinstance(refusal, grpc.Call)
    code, details = refusal.code(), str(refusal.details())
    event(code.name)
    assert seconds < _DEADLINE, f"hangs: {request}"
    if code is grpc.StatusCode.INTERNAL:
        number = details.rpartition(" ")[2]
        lines = [line[:4000] for line in log.read_text().splitlines() if number in line]
        pytest.fail("\n".join([details, str(request)[:2000], *lines]))
    assert "Traceback" not in details, details
    assert "<class '" not in details, details


def _images(client: Client) -> list[pb.Image]:
    return list(client.images.ListImages(pb.ListImagesRequest(), timeout=10).images)
