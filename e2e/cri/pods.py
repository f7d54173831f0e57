"""The pods of the suite: what it asks of the runtime besides, and how they are removed."""

from __future__ import annotations

from typing import Any, Final

import grpc

from cri.api import runtime_pb2 as pb
from e2e.client import Client
from e2e.cri.target import Target
from e2e.pods import PodMaker, until

UNKNOWN_ID: Final = "f0" * 32

CREATED: Final = pb.ContainerState.CONTAINER_CREATED
RUNNING: Final = pb.ContainerState.CONTAINER_RUNNING
EXITED: Final = pb.ContainerState.CONTAINER_EXITED
READY: Final = pb.PodSandboxState.SANDBOX_READY
NOT_READY: Final = pb.PodSandboxState.SANDBOX_NOTREADY

#: Of all pods that the suite makes.
NAMESPACE: Final = "conformance"


class Pods(PodMaker):
    """Pods of the runtime under test; `remove_all` removes every pod that was made here."""

    def __init__(self, target: Target) -> None:
        super().__init__(target.images, logs=target.directory / "logs", cgroup=target.cgroup, namespace=NAMESPACE)
        self.target = target

    @property
    def client(self) -> Client:
        return self.target.client

    def stats(self, container: str) -> pb.ContainerStats:
        return self.client.runtime.ContainerStats(pb.ContainerStatsRequest(container_id=container), timeout=30).stats

    def image(self, reference: str) -> pb.Image | None:
        request = pb.ImageStatusRequest(image=pb.ImageSpec(image=reference))
        answer = self.client.images.ImageStatus(request, timeout=30)
        return answer.image if answer.HasField("image") else None

    def remove_all(self) -> None:
        """Repeats what fails, as a kubelet does. What is removed must be in no list (proto, RemovePodSandbox)."""
        for sandbox in {pod.id for pod in self.client.pods()} & set(self._made):
            until(lambda: self._removed(sandbox))  # noqa: B023
        assert not {pod.id for pod in self.client.pods()} & set(self._made)
        assert not {one.pod_sandbox_id for one in self.client.containers()} & set(self._made)

    def _removed(self, sandbox: str) -> bool:
        try:
            self.client.stop_pod(sandbox)
            self.client.remove_pod(sandbox)
        except grpc.RpcError:
            return False
        return True


def security(**fields: Any) -> pb.LinuxContainerSecurityContext:
    return pb.LinuxContainerSecurityContext(**fields)
