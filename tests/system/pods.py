"""Making pods in system tests: one call for a pod with a container that runs, and waiting for what must come true."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest

from cri.api import runtime_pb2 as pb
from e2e.client import Client, container_config, pod_config
from e2e.daemon import Daemon
from e2e.images.catalog import ImageNames

# The trap is set before the first output, so a test that waits for the output may send TERM.
SERVE = ("sh", "-c", "trap 'exit 0' TERM; echo ready; while :; do sleep 3600 & wait $!; done")


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

    def lines(self) -> list[tuple[str, str, str]]:
        """(stream, tag, text) of each entry of the log."""
        entries = []
        for line in self.log.read_text().splitlines():
            _, stream, tag, text = line.split(" ", 3)
            entries.append((stream, tag, text))
        return entries

    def text(self) -> list[str]:
        return [text for _, _, text in self.lines()]


class Pods:
    """Pods of one daemon; the client is asked for anew each time, since a test may restart the daemon."""

    def __init__(self, daemon: Daemon, images: ImageNames, *, logs: Path, cgroup: str) -> None:
        self.daemon = daemon
        self.images = images
        self.cgroup = cgroup
        self._logs = logs
        self._numbers = itertools.count()
        self._made: list[str] = []

    @property
    def client(self) -> Client:
        return self.daemon.client

    def config(self, **settings: object) -> pb.PodSandboxConfig:
        """The configuration of a new pod, with a name and a log directory of its own."""
        name = f"pod{next(self._numbers)}"
        logs = self._logs / name
        logs.mkdir(parents=True)
        return pod_config(name, logs=logs, cgroup_parent=self.cgroup, **settings)  # type: ignore[arg-type]

    def run(self, config: pb.PodSandboxConfig | None = None) -> Pod:
        config = config or self.config()
        sandbox = self.client.run_pod(config)
        self._made.append(sandbox)
        return Pod(id=sandbox, config=config, logs=Path(config.log_directory))

    def adopt(self, sandbox: str) -> None:
        """A pod that came to be in another way; it is removed with the others."""
        self._made.append(sandbox)

    def create(self, pod: Pod, *command: str, name: str = "main", image: str = "", **settings: object) -> Container:
        config = container_config(name, image or self.images.busybox, *command, **settings)  # type: ignore[arg-type]
        return self.create_from(pod, config)

    def create_from(self, pod: Pod, config: pb.ContainerConfig) -> Container:
        container = self.client.create(pod.id, config, pod.config)
        return Container(id=container, config=config, log=pod.logs / config.log_path)

    def start(self, pod: Pod, *command: str, **settings: object) -> Container:
        """A started container; `SERVE` runs without a command, and has then said so."""
        container = self.create(pod, *(command or SERVE), **settings)  # type: ignore[arg-type]
        self.client.start(container.id)
        if not command:
            self.wait_for_line(container, "ready")
        return container

    def run_to_end(self, *command: str, pod: Pod | None = None, **settings: object) -> tuple[Container, int]:
        """A container that ran `command` to its end, and its exit code."""
        container = self.start(pod or self.run(), *command, **settings)
        return container, self.wait_for_exit(container).exit_code

    def output(self, *command: str, **settings: object) -> list[str]:
        """What `command` prints, line by line; it must end with 0."""
        container, code = self.run_to_end(*command, **settings)  # type: ignore[arg-type]
        assert code == 0, container.log.read_text()
        return container.text()

    def wait_for_exit(self, container: Container) -> pb.ContainerStatus:
        self.until(lambda: self.client.status(container.id).state == pb.ContainerState.CONTAINER_EXITED)
        return self.client.status(container.id)

    def wait_for_line(self, container: Container, text: str) -> None:
        self.until(lambda: container.log.exists() and text in container.log.read_text())

    def until(self, holds: Callable[[], bool], *, seconds: float = 20) -> None:
        until(holds, seconds=seconds)

    def remove_all(self) -> None:
        for sandbox in self._made:
            self.client.stop_pod(sandbox)
            self.client.remove_pod(sandbox)


def until(holds: Callable[[], bool], *, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"it did not come true within {seconds:g} s"
        time.sleep(0.02)


def refused(call: Callable[[], object], code: grpc.StatusCode, *words: str) -> str:
    """The message of the error that `call` must answer with; it must hold each of `words`."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    error = caught.value
    assert isinstance(error, grpc.Call)
    details = str(error.details())
    assert error.code() is code, f"{error.code()}: {details}"
    missing = [word for word in words if word not in details]
    assert not missing, f"the message lacks {missing}: {details}"
    return details
