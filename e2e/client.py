"""A client of any CRI socket: the generated stubs, and the few requests that every driver repeats.

Owns the channel. It asserts nothing and hides no error: a failed RPC raises `grpc.RpcError` as it came.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import grpc

from cri.api import runtime_pb2 as pb
from cri.api.runtime_pb2_grpc import ImageServiceStub, RuntimeServiceStub
from e2e.processes import SLOWNESS

_OPTIONS: Final = (
    ("grpc.max_receive_message_length", 64 << 20),
    ("grpc.enable_http_proxy", 0),
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 200),
)


class Client:
    """`endpoint` is a unix:// address. The stubs' methods take requests as they are."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        # A pool of its own per client: two clients of one address must not share a connection that a restart broke.
        self._channel = grpc.insecure_channel(endpoint, options=[*_OPTIONS, ("grpc.use_local_subchannel_pool", 1)])
        channel = self._channel if SLOWNESS == 1 else grpc.intercept_channel(self._channel, _Patience())
        self.runtime = RuntimeServiceStub(channel)
        self.images = ImageServiceStub(channel)

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._channel.close()

    def ready(self) -> bool:
        """Whether the runtime and its network say that they are ready."""
        try:
            status = self.runtime.Status(pb.StatusRequest(), timeout=2).status
        except grpc.RpcError:
            return False
        return len(status.conditions) >= 2 and all(condition.status for condition in status.conditions)

    def pull(self, reference: str) -> str:
        request = pb.PullImageRequest(image=pb.ImageSpec(image=reference))
        return self.images.PullImage(request, timeout=300).image_ref

    def run_pod(self, config: pb.PodSandboxConfig) -> str:
        return self.runtime.RunPodSandbox(pb.RunPodSandboxRequest(config=config), timeout=120).pod_sandbox_id

    def create(self, sandbox: str, config: pb.ContainerConfig, pod: pb.PodSandboxConfig) -> str:
        request = pb.CreateContainerRequest(pod_sandbox_id=sandbox, config=config, sandbox_config=pod)
        return self.runtime.CreateContainer(request, timeout=120).container_id

    def start(self, container: str) -> None:
        self.runtime.StartContainer(pb.StartContainerRequest(container_id=container), timeout=120)

    def stop(self, container: str, timeout: int = 10) -> None:
        request = pb.StopContainerRequest(container_id=container, timeout=int(timeout * SLOWNESS))
        self.runtime.StopContainer(request, timeout=timeout + 120)

    def remove(self, container: str) -> None:
        self.runtime.RemoveContainer(pb.RemoveContainerRequest(container_id=container), timeout=120)

    def stop_pod(self, sandbox: str) -> None:
        self.runtime.StopPodSandbox(pb.StopPodSandboxRequest(pod_sandbox_id=sandbox), timeout=120)

    def remove_pod(self, sandbox: str) -> None:
        self.runtime.RemovePodSandbox(pb.RemovePodSandboxRequest(pod_sandbox_id=sandbox), timeout=120)

    def exec(self, container: str, *command: str, timeout: int = 30) -> pb.ExecSyncResponse:
        request = pb.ExecSyncRequest(container_id=container, cmd=list(command), timeout=int(timeout * SLOWNESS))
        return self.runtime.ExecSync(request, timeout=timeout + 30)

    def status(self, container: str) -> pb.ContainerStatus:
        return self.runtime.ContainerStatus(pb.ContainerStatusRequest(container_id=container), timeout=30).status

    def pod_status(self, sandbox: str) -> pb.PodSandboxStatus:
        return self.runtime.PodSandboxStatus(pb.PodSandboxStatusRequest(pod_sandbox_id=sandbox), timeout=30).status

    def pods(self) -> Sequence[pb.PodSandbox]:
        return self.runtime.ListPodSandbox(pb.ListPodSandboxRequest(), timeout=30).items

    def containers(self) -> Sequence[pb.Container]:
        return self.runtime.ListContainers(pb.ListContainersRequest(), timeout=30).containers

    def remove_all(self, mine: Callable[[pb.PodSandbox], bool] = lambda pod: True) -> None:
        """Stops and removes every pod that `mine` accepts."""
        for pod in self.pods():
            if mine(pod):
                self.stop_pod(pod.id)
                self.remove_pod(pod.id)


def pod_config(
    name: str,
    *,
    logs: Path | None = None,
    namespace: str = "test",
    cgroup_parent: str = "",
    ports: Sequence[pb.PortMapping] = (),
    labels: Mapping[str, str] | None = None,
    host_network: bool = False,
) -> pb.PodSandboxConfig:
    """A pod with a fresh uid, its own network namespace and a PID namespace per container."""
    network = pb.NamespaceMode.NODE if host_network else pb.NamespaceMode.POD
    options = pb.NamespaceOption(network=network, pid=pb.NamespaceMode.CONTAINER, ipc=pb.NamespaceMode.POD)
    return pb.PodSandboxConfig(
        metadata=pb.PodSandboxMetadata(name=name, uid=str(uuid.uuid4()), namespace=namespace, attempt=0),
        hostname="" if host_network else name,
        log_directory=str(logs) if logs else "",
        port_mappings=list(ports),
        labels=dict(labels or {}),
        linux=pb.LinuxPodSandboxConfig(
            cgroup_parent=cgroup_parent,
            security_context=pb.LinuxSandboxSecurityContext(namespace_options=options),
        ),
    )


def container_config(
    name: str,
    image: str,
    *command: str,
    args: Sequence[str] = (),
    mounts: Sequence[pb.Mount] = (),
    env: Mapping[str, str] | None = None,
    resources: pb.LinuxContainerResources | None = None,
    security: pb.LinuxContainerSecurityContext | None = None,
) -> pb.ContainerConfig:
    """A container that logs to NAME.log in the pod's log directory."""
    context = security or pb.LinuxContainerSecurityContext()
    if not context.HasField("namespace_options"):
        # Not the message's own default, which is a PID namespace that the whole pod shares.
        context.namespace_options.pid = pb.NamespaceMode.CONTAINER
    return pb.ContainerConfig(
        metadata=pb.ContainerMetadata(name=name, attempt=0),
        image=pb.ImageSpec(image=image),
        command=list(command),
        args=list(args),
        mounts=list(mounts),
        envs=[pb.KeyValue(key=key, value=value.encode()) for key, value in (env or {}).items()],
        log_path=f"{name}.log",
        linux=pb.LinuxContainerConfig(resources=resources, security_context=context),
    )


class _Patience(grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor):  # type: ignore[type-arg]
    """Every call's deadline is as much later as the machine is slower."""

    def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return continuation(_Details(client_call_details), request)

    def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return continuation(_Details(client_call_details), request)


class _Details(grpc.ClientCallDetails):
    def __init__(self, asked: grpc.ClientCallDetails) -> None:
        self.method, self.metadata, self.credentials = asked.method, asked.metadata, asked.credentials
        self.wait_for_ready, self.compression = asked.wait_for_ready, asked.compression
        self.timeout = None if asked.timeout is None else asked.timeout * SLOWNESS
