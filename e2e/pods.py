"""Pods and containers of a test, made as a kubelet would; waiting for what must come true. Knows only the client."""

from __future__ import annotations

import itertools
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import grpc
import pytest

from cri.api import runtime_pb2 as pb
from e2e.client import Client, container_config, pod_config
from e2e.images.catalog import ImageNames
from e2e.processes import SLOWNESS

#: Runs until TERM; its trap is set before it says so.
SERVE: Final = ("sh", "-c", "trap 'exit 0' TERM; echo ready; while :; do sleep 3600 & wait $!; done")

_NUMBERS: Final = itertools.count()


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    id: str
    config: pb.PodSandboxConfig
    logs: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    id: str
    config: pb.ContainerConfig
    log: Path

    def entries(self) -> list[tuple[str, str, str]]:
        """(stream, tag, text) of each entry of the log."""
        return [_entry(line) for line in self.log.read_text().splitlines()]

    def text(self) -> list[str]:
        return [text for _, _, text in self.entries()]


class PodMaker(ABC):
    """What every suite does with its pods. How they are taken away again is the suite's affair."""

    def __init__(self, images: ImageNames, *, logs: Path, cgroup: str, namespace: str = "test") -> None:
        self.images = images
        self.cgroup = cgroup
        self._logs = logs
        self._namespace = namespace
        self._made: list[str] = []

    @property
    @abstractmethod
    def client(self) -> Client: ...

    def config(self, **settings: Any) -> pb.PodSandboxConfig:
        """The configuration of a new pod, with a name and a log directory of its own."""
        name = f"pod-{next(_NUMBERS)}"
        logs = self._logs / name
        logs.mkdir(parents=True)
        return pod_config(name, logs=logs, cgroup_parent=self.cgroup, namespace=self._namespace, **settings)

    def made(self, sandbox: str) -> str:
        """For a pod that came to be in another way; it is removed with the others."""
        self._made.append(sandbox)
        return sandbox

    def run(self, config: pb.PodSandboxConfig | None = None, *, handler: str = "") -> Pod:
        config = config or self.config()
        request = pb.RunPodSandboxRequest(config=config, runtime_handler=handler)
        sandbox = self.made(self.client.runtime.RunPodSandbox(request, timeout=60).pod_sandbox_id)
        return Pod(id=sandbox, config=config, logs=Path(config.log_directory))

    def container_config(
        self, *command: str, name: str = "main", image: str = "", **settings: Any
    ) -> pb.ContainerConfig:
        return container_config(name, image or self.images.busybox, *command, **settings)

    def create(self, pod: Pod, *command: str, **settings: Any) -> Container:
        return self.create_from(pod, self.container_config(*command, **settings))

    def create_from(self, pod: Pod, config: pb.ContainerConfig) -> Container:
        container = self.client.create(pod.id, config, pod.config)
        return Container(id=container, config=config, log=pod.logs / config.log_path)

    def start(self, pod: Pod, *command: str, **settings: Any) -> Container:
        """A started container; without a command it is `SERVE`, and has then said that it is ready."""
        container = self.create(pod, *(command or SERVE), **settings)
        self.client.start(container.id)
        if not command:
            self.wait_for_line(container, "ready")
        return container

    def run_to_end(
        self, *command: str, pod: Pod | None = None, **settings: Any
    ) -> tuple[Container, pb.ContainerStatus]:
        container = self.start(pod or self.run(), *command, **settings)
        return container, self.wait_for_exit(container)

    def output(self, *command: str, **settings: Any) -> list[str]:
        """What `command` prints, line by line; it must end with 0."""
        container, status = self.run_to_end(*command, **settings)
        assert status.exit_code == 0, container.log.read_text()
        return container.text()

    def wait_for_exit(self, container: Container) -> pb.ContainerStatus:
        until(lambda: self.client.status(container.id).state == pb.ContainerState.CONTAINER_EXITED)
        return self.client.status(container.id)

    def wait_for_line(self, container: Container, text: str) -> None:
        until(lambda: container.log.exists() and text in container.log.read_text())


def until(holds: Callable[[], bool], *, seconds: float = 30) -> None:
    seconds *= SLOWNESS
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"it did not come true within {seconds:g} s"
        time.sleep(0.02)


def refused(call: Callable[[], object], codes: grpc.StatusCode | Sequence[grpc.StatusCode], *words: str) -> str:
    """The message of the error that `call` must answer with, one of `codes`; it must hold each of `words`."""
    error = failure(call)
    allowed = [codes] if isinstance(codes, grpc.StatusCode) else list(codes)
    details = str(error.details())
    assert error.code() in allowed, f"{error.code()}: {details}"
    missing = [word for word in words if word not in details]
    assert not missing, f"the message lacks {missing}: {details}"
    return details


def failure(call: Callable[[], object]) -> grpc.Call:
    """The error that `call` must end with, whatever its code."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    assert isinstance(caught.value, grpc.Call)
    return caught.value


def _entry(line: str) -> tuple[str, str, str]:
    _, stream, tag, text = line.split(" ", 3)
    return stream, tag, text
