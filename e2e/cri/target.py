"""The runtime under test and what stands around it: a registry with images, a log directory, a parent cgroup.

A runtime that runs already is used as it is: only its pods that this suite made are removed. One that is started here
gets roots of its own, and is removed without a trace.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc

from cri.api import runtime_pb2 as pb
from deploy.image import Image, ImageConfig
from e2e import cgroups
from e2e.client import Client
from e2e.containerd import Peer, PeerSettings
from e2e.daemon import Daemon, DaemonSettings
from e2e.disk import loop_disk
from e2e.images.catalog import ImageNames, busybox_image, push_test_images
from e2e.registry import RunningRegistry, running_registry
from e2e.runtime import Runtime

RUNTIMES = ("coracle", "containerd")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """`cgroup` is the parent of the pods', as a kubelet gives one; logs go below `directory`."""

    client: Client
    images: ImageNames
    throwaway: str
    """An image that no test runs but those which remove it: its id is no other image's."""
    directory: Path
    cgroup: str

    @property
    def endpoint(self) -> str:
        return self.client.endpoint


@contextmanager
def target(*, endpoint: str, runtime: str) -> Iterator[Target]:
    """The runtime at `endpoint`; without one, `runtime` is started."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="coracle-cri-")))
        registry = stack.enter_context(running_registry(directory / "registry"))
        images, throwaway = _images(registry)
        if not endpoint:
            endpoint = stack.enter_context(_started(runtime, directory, registry.address, images)).endpoint
        client = stack.enter_context(Client(endpoint))
        cgroup = stack.enter_context(_parent(client))
        for reference in (images.busybox, images.with_user):
            client.pull(reference)
        yield Target(client=client, images=images, throwaway=throwaway, directory=directory, cgroup=cgroup)


def _images(registry: RunningRegistry) -> tuple[ImageNames, str]:
    if registry.filled is None:
        return push_test_images(registry.client), _push_throwaway(registry)
    names = {name: text.format(address=registry.address) for name, text in registry.filled.items()}
    return ImageNames(**names), f"{registry.address}/test/throwaway:1"


@contextmanager
def _parent(client: Client) -> Iterator[str]:
    """As the kubelet does: a slice that systemd makes when it is first named, or a directory."""
    if _by_systemd(client):
        name = f"coracle_cri_{os.getpid()}.slice"
        try:
            yield f"/{name}"
        finally:
            cgroups.stop_slice(name)
        return
    path = f"/coracle-cri-{os.getpid()}"
    cgroups.create(path)
    try:
        yield path
    finally:
        cgroups.remove(path)


def _by_systemd(client: Client) -> bool:
    """Runtimes from before Kubernetes 1.28 do not say; those that are tested here have cgroupfs."""
    try:
        linux = client.runtime.RuntimeConfig(pb.RuntimeConfigRequest()).linux
    except grpc.RpcError as error:
        if error.code() is not grpc.StatusCode.UNIMPLEMENTED:
            raise
        return False
    return linux.cgroup_driver == pb.SYSTEMD


def _push_throwaway(registry: RunningRegistry) -> str:
    """Two names for one image."""
    config = ImageConfig(cmd=("true",), labels={"kind": "throwaway"})
    registry.client.push("test/throwaway", ["1", "2"], Image(layers=busybox_image().layers, config=config))
    return f"{registry.address}/test/throwaway:1"


@contextmanager
def _started(name: str, directory: Path, registry: str, images: ImageNames) -> Iterator[Runtime]:
    with ExitStack() as stack:
        runtime = _coracle(directory) if name == "coracle" else _peer(stack, directory, registry, images)
        stack.callback(runtime.clean)
        stack.callback(runtime.stop)
        runtime.start()
        yield runtime
        with Client(runtime.endpoint) as client:
            client.remove_all()


def _coracle(directory: Path) -> Runtime:
    return Daemon(DaemonSettings(name=f"cri{os.getpid() % 10000}", directory=directory / "coracle"))


def _peer(stack: ExitStack, directory: Path, registry: str, images: ImageNames) -> Runtime:
    """On a disk of its own: its overlays need an upper directory that is no overlay."""
    disk = stack.enter_context(loop_disk(directory, gibibytes=4))
    return Peer(
        PeerSettings(
            directory=disk / "containerd",
            registry=registry,
            sandbox_image=images.pause,
            bridge="co-cri-peer",
            subnet="10.127.236.0/22",
            mirrors={},
        )
    )
