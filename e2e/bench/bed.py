"""What one run of the benchmark stands on: a fresh disk, a registry with the images, the runtimes and their clients.

Owns the order of making and removing them, and the pod that every measure runs.
"""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cri.api import runtime_pb2 as pb
from deploy.image import Image, ImageConfig, Layer, LayerBuilder
from e2e import cgroups
from e2e.client import Client, container_config, pod_config
from e2e.containerd import Peer, PeerSettings
from e2e.daemon import Daemon, DaemonSettings
from e2e.disk import loop_disk
from e2e.images.catalog import busybox_image, cached_layer, many_files_layer
from e2e.images.pause import pause_image, pause_layer
from e2e.registry import RunningRegistry, running_registry
from e2e.runtime import Runtime

FILES: Final = 20_000
LINES: Final = 100_000
"""Lines of 100 bytes in the image's /lines."""

# The trap is set before the first output: a TERM sent to a PID 1 without a handler would be lost.
WORKLOAD: Final = ("sh", "-c", "trap 'exit 0' TERM; echo ready; while :; do sleep 3600 & wait $!; done")


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """A runtime under test, its client, and where its pods log and live."""

    runtime: Runtime
    client: Client
    logs: Path
    cgroup: str
    images: ImageReferences
    registry_pid: int
    disk: Path
    counter: Iterator[int] = field(default_factory=itertools.count)

    @property
    def name(self) -> str:
        return self.runtime.name

    def pod(self) -> pb.PodSandboxConfig:
        """The configuration of a new pod, as the kubelet would send it."""
        number = next(self.counter)
        logs = self.logs / f"pod{number}"
        logs.mkdir()
        return pod_config(f"bench-{number}", logs=logs, namespace="bench", cgroup_parent=self.cgroup)

    def container(self, *command: str) -> pb.ContainerConfig:
        """A container with limits and the paths hidden that the kubelet has hidden by default."""
        options = pb.NamespaceOption(
            network=pb.NamespaceMode.POD, pid=pb.NamespaceMode.CONTAINER, ipc=pb.NamespaceMode.POD
        )
        security = pb.LinuxContainerSecurityContext(
            namespace_options=options,
            masked_paths=["/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware"],
            readonly_paths=["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
            seccomp=pb.SecurityProfile(profile_type=pb.SecurityProfile.ProfileType.RuntimeDefault),
        )
        resources = pb.LinuxContainerResources(cpu_shares=102, memory_limit_in_bytes=256 << 20)
        return container_config("main", self.images.work, *command, resources=resources, security=security)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageReferences:
    work: str
    pause: str
    files: str


@contextmanager
def bench_bed(names: Sequence[str], *, base: Path | None = None) -> Iterator[list[Contender]]:
    """The runtimes `names` ("coracle", "containerd"), running on one fresh disk with the images at hand."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="coracle-bench-", dir=base)))
        disk = stack.enter_context(loop_disk(directory))
        registry = stack.enter_context(running_registry(disk / "registry"))
        images = _push(registry)
        yield [stack.enter_context(_contender(name, disk, registry, images)) for name in names]


@contextmanager
def _contender(name: str, disk: Path, registry: RunningRegistry, images: ImageReferences) -> Iterator[Contender]:
    runtime = _runtime(name, disk, registry, images)
    logs, cgroup = disk / f"logs-{name}", f"/coracle-bench-{name}"
    logs.mkdir()
    cgroups.create(cgroup)
    runtime.start()
    try:
        with Client(runtime.endpoint) as client:
            client.pull(images.work)
            yield Contender(
                runtime=runtime,
                client=client,
                logs=logs,
                cgroup=cgroup,
                images=images,
                registry_pid=registry.pid,
                disk=disk,
            )
            client.remove_all()
    finally:
        runtime.stop()
        cgroups.remove(cgroup)
        runtime.clean()


def _runtime(name: str, disk: Path, registry: RunningRegistry, images: ImageReferences) -> Runtime:
    if name == "coracle":
        return Daemon(DaemonSettings(name=f"be{os.getpid()}", directory=disk / "coracle"))
    if name == "containerd":
        return Peer(
            PeerSettings(
                directory=disk / "containerd",
                registry=registry.address,
                sandbox_image=images.pause,
                bridge=f"co-bep{os.getpid()}",
                subnet="10.127.240.0/22",
                mirrors={},
            )
        )
    raise ValueError(f"unknown runtime {name!r}: coracle or containerd")


def _push(registry: RunningRegistry) -> ImageReferences:
    def push(name: str, image: Image) -> str:
        registry.client.push(f"bench/{name}", ["1"], image)
        return f"{registry.address}/bench/{name}:1"

    busybox = busybox_image()
    work = Image(layers=[*busybox.layers, cached_layer(f"lines-{LINES}", _lines_layer)], config=busybox.config)
    return ImageReferences(
        work=push("work", work),
        pause=push("pause", pause_image(cached_layer("pause-bench", pause_layer))),
        files=push("files", Image(layers=[many_files_layer(FILES)], config=ImageConfig(cmd=("/none",)))),
    )


def _lines_layer(directory: Path) -> Layer:
    """A file of numbered lines, 100 bytes each with the line end: what the log benchmark writes again and again."""
    content = b"".join(f"{number:08d} ".encode() + b"x" * 90 + b"\n" for number in range(LINES))
    with LayerBuilder(directory) as layer:
        layer.file("lines", content)
        return layer.finish()
