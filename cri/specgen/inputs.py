"""What a container's specification is made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from cri.api import runtime_pb2 as api
from cri.selinux.labels import Labels
from imagesvc.config import ImageConfig
from oci import spec
from oci.users import ResolvedUser


@dataclass(frozen=True, slots=True, kw_only=True)
class HostFacts:
    """What this host and this daemon can give; looked up once at start."""

    cgroup_v2: bool
    capabilities: tuple[str, ...]  #: the daemon's own effective set: what a privileged container gets
    apparmor: bool
    hugetlb: bool = True  #: whether huge pages can be limited
    devices: tuple[spec.Device, ...] = ()  #: every device node of the host, for privileged containers


@dataclass(frozen=True, slots=True, kw_only=True)
class PodFiles:
    """Host paths that containers of one pod share."""

    hostname: str
    hosts: str
    resolv_conf: str
    shm: str  #: a tmpfs of the pod's own, or the host's with the host's IPC namespace


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerInputs:
    """`pid_namespace` is the path of the one to join, "" for a new one; `device_rules` belong to `devices`.

    `users` maps the ids of a pod with a user namespace. `device_sources` has the host's path of a device that has
    another one in the container.
    """

    config: api.ContainerConfig
    hostname: str
    host_network: bool
    host_pid: bool
    pid_namespace: str
    image: ImageConfig
    user: ResolvedUser
    cgroup: str
    files: PodFiles
    host: HostFacts
    default_capabilities: tuple[str, ...]
    devices: tuple[spec.Device, ...] = ()
    device_rules: tuple[spec.DeviceRule, ...] = ()
    device_sources: Mapping[str, str] = field(default_factory=dict)
    users: spec.IdMapping | None = None
    declared_volumes: Mapping[str, str] = field(default_factory=dict)  #: place -> the host's directory
    ulimits: tuple[str, ...] = ()  #: like "nofile=1024:524288": soft and hard
    pids_limit: int = 0  #: 0 is none
    apparmor_profile: str | None = None
    labels: Labels | None = None
