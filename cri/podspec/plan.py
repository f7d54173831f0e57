"""The whole translation: a manifest in, the messages to send and the directories to make out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cri.api import runtime_pb2 as api
from cri.podspec.containers import container_config
from cri.podspec.reader import ManifestError, Reader
from cri.podspec.sandbox import pod_metadata, sandbox_config
from cri.podspec.volumes import read_volumes

_PULL_POLICIES: Final = ("Always", "IfNotPresent", "Never")
# Read by a cluster's controllers, or by the kubelet for things that one pod on one node does not have.
_MEANINGLESS: Final = ("nodeName", "serviceAccountName", "automountServiceAccountToken", "dnsPolicy", "priority")


@dataclass(frozen=True, slots=True, kw_only=True)
class Directory:
    path: Path
    mode: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedContainer:
    config: api.ContainerConfig
    pull: str
    """Always, IfNotPresent or Never."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """`place` belongs to the pod: it is made before, and removed after, with everything in it."""

    sandbox: api.PodSandboxConfig
    runtime_handler: str
    containers: tuple[PlannedContainer, ...]
    place: Path
    directories: tuple[Directory, ...]
    grace_seconds: int
    notices: tuple[str, ...]


def translate(manifest: Mapping[str, object], places: Path) -> Plan:
    """`places` is the directory below which each pod has its own. Raises ManifestError."""
    reader = Reader(manifest)
    if (reader.text("apiVersion"), reader.text("kind")) != ("v1", "Pod"):
        raise ManifestError("kind", f"must be a v1 Pod, is {reader.text('apiVersion')} {reader.text('kind')}")
    reader.ignore("status")
    spec = reader.table("spec")
    place = places / pod_metadata(reader).uid
    sandbox = sandbox_config(reader, place)
    volumes = read_volumes(spec, place)
    containers = tuple(
        PlannedContainer(config=container_config(entry, spec, sandbox, volumes), pull=_pull_policy(entry))
        for entry in spec.tables("containers")
    )
    if not containers:
        raise ManifestError("spec.containers", "a pod needs at least one container")
    _check_names(containers)
    if spec.has("initContainers"):
        raise ManifestError("spec.initContainers", "not supported: they need someone who watches the pod")
    spec.ignore("initContainers", *_MEANINGLESS)
    notices = _notices(spec)
    grace = spec.number("terminationGracePeriodSeconds", 30)
    handler = spec.text("runtimeClassName", "")
    return Plan(
        sandbox=sandbox,
        runtime_handler=handler,
        containers=containers,
        place=place,
        directories=(
            Directory(path=place / "logs", mode=0o755),
            *(Directory(path=one.path, mode=0o777 if one.owned else 0o755) for one in volumes.values() if one.make),
        ),
        grace_seconds=grace,
        notices=(*notices, *(f"{field} is ignored" for field in reader.unread())),
    )


def _pull_policy(container: Reader) -> str:
    """Without a policy: Always for the tag latest, else IfNotPresent."""
    image = container.text("image")
    moving = ("@" not in image and ":" not in image.rpartition("/")[2]) or image.endswith(":latest")
    policy = container.text("imagePullPolicy", "Always" if moving else "IfNotPresent")
    if policy not in _PULL_POLICIES:
        raise ManifestError(container.where("imagePullPolicy"), f"{policy!r} is none of {', '.join(_PULL_POLICIES)}")
    return policy


def _check_names(containers: tuple[PlannedContainer, ...]) -> None:
    names = [one.config.metadata.name for one in containers]
    for number, name in enumerate(names):
        if name in names[:number]:
            raise ManifestError(f"spec.containers[{number}].name", f"container {name!r} is there twice")


def _notices(spec: Reader) -> tuple[str, ...]:
    policy = spec.text("restartPolicy", "Always")
    return () if policy == "Never" else (f"restartPolicy {policy} is ignored: a container that ends stays so",)
