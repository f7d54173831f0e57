"""What is kept of each sandbox and container: one frozen value each, and its form on disk.

The configuration that the client sent stays the serialized protobuf it was; beside it stands a JSON object with the
facts that Coracle adds. Fields are only ever added, each with a default, so an older file is always readable.

Times are nanoseconds since the epoch, 0 for "not yet".
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NewType, Self, TypeVar

from cri.api import runtime_pb2 as api
from cri.state.machine import ContainerState, Event, SandboxState, next_container_state, next_sandbox_state

SandboxID = NewType("SandboxID", str)
ContainerID = NewType("ContainerID", str)

#: Exit code of a container whose real one cannot be had (its parent is gone and the kernel is older than 6.15).
UNKNOWN_EXIT_CODE = 255

R = TypeVar("R", bound="SandboxRecord | ContainerRecord")


@dataclass(frozen=True, kw_only=True)
class SandboxRecord:
    """One pod sandbox. `netns` is "" with the host's network; `own_cgroup` says that `cgroup` is ours to remove."""

    id: SandboxID
    state: SandboxState
    config_bytes: bytes
    created_at: int
    runtime_handler: str = ""
    boot_id: str = ""
    netns: str = ""
    cgroup: str = ""
    own_cgroup: bool = False
    ips: tuple[str, ...] = ()
    shim_pid: int = 0
    init_pid: int = 0  #: the reaping init of a shared PID namespace, 0 without one
    init_start: int = 0  #: field 22 of its /proc/PID/stat
    delivered: bool = False  #: some client has been told the id
    reason: str = ""  #: why it is not ready, when nobody asked for that
    process_label: str = ""  #: SELinux's, for what runs in it; "" where it has none
    mount_label: str = ""  #: for its files: what it has its level from

    @cached_property
    def config(self) -> api.PodSandboxConfig:
        """The parsed configuration; to be read, never to be changed."""
        return api.PodSandboxConfig.FromString(self.config_bytes)

    @property
    def hidden(self) -> bool:
        """Not made yet, or never to be: what nobody was told of goes without having been seen."""
        return self.state is SandboxState.CREATING or (self.state is SandboxState.REMOVING and not self.delivered)

    @property
    def namespaces(self) -> api.NamespaceOption:
        return self.config.linux.security_context.namespace_options

    @property
    def host_network(self) -> bool:
        return self.namespaces.network == api.NODE

    def moved(self, event: Event, **changes: Any) -> Self:
        """The record after `event`. Raises IllegalTransition."""
        return dataclasses.replace(self, state=next_sandbox_state(f"sandbox {self.id}", self.state, event), **changes)

    def with_(self, **changes: Any) -> Self:
        return dataclasses.replace(self, **changes)


@dataclass(frozen=True, kw_only=True)
class ContainerRecord:
    """One container. `image_id` is the id of the image that it runs; `image_name` what a person called it."""

    id: ContainerID
    sandbox_id: SandboxID
    state: ContainerState
    config_bytes: bytes
    created_at: int
    image_id: str = ""
    image_ref: str = ""
    image_name: str = ""
    cgroup: str = ""
    log_path: str = ""  #: absolute, "" for none
    pid: int = 0
    pid_start: int = 0  #: field 22 of /proc/PID/stat: a pid that was used again does not match
    started_at: int = 0
    finished_at: int = 0
    exit_code: int = 0
    reason: str = ""
    message: str = ""
    oom_killed: bool = False
    stop_signal: str = "SIGTERM"
    user: tuple[int, int, tuple[int, ...]] = (0, 0, ())  #: uid, gid, supplementary groups
    resources_bytes: bytes = b""  #: LinuxContainerResources in force, where updates changed the configured ones
    volume_images: tuple[tuple[str, str], ...] = ()  #: container path and image id of each image volume
    delivered: bool = False

    @cached_property
    def config(self) -> api.ContainerConfig:
        """The parsed configuration; to be read, never to be changed."""
        return api.ContainerConfig.FromString(self.config_bytes)

    @cached_property
    def resources(self) -> api.LinuxContainerResources:
        if self.resources_bytes:
            return api.LinuxContainerResources.FromString(self.resources_bytes)
        return self.config.linux.resources

    @property
    def hidden(self) -> bool:
        """Not made yet, or never to be. A failed creation must not look like a container that ended well."""
        return self.state is ContainerState.CREATING or (self.state is ContainerState.REMOVING and not self.delivered)

    @property
    def name(self) -> str:
        return self.config.metadata.name

    def moved(self, event: Event, **changes: Any) -> Self:
        """The record after `event`. Raises IllegalTransition."""
        return dataclasses.replace(
            self, state=next_container_state(f"container {self.id}", self.state, event), **changes
        )

    def with_(self, **changes: Any) -> Self:
        return dataclasses.replace(self, **changes)


def sandbox_key(record: SandboxRecord) -> tuple[str, ...]:
    return metadata_key(record.config.metadata)


def metadata_key(metadata: api.PodSandboxMetadata) -> tuple[str, ...]:
    """What makes a pod sandbox the one that was asked for."""
    return metadata.namespace, metadata.name, metadata.uid, str(metadata.attempt)


_COLUMNS = ("id", "sandbox_id", "state", "config_bytes")


def to_row(record: SandboxRecord | ContainerRecord) -> tuple[str, str, str, bytes, str]:
    """(id, sandbox id, state, configuration, facts): the columns of both tables."""
    facts: dict[str, object] = {}
    for field in dataclasses.fields(record):
        value = getattr(record, field.name)
        if field.name not in _COLUMNS and value != field.default:
            facts[field.name] = value.hex() if isinstance(value, bytes) else value
    sandbox_id = record.sandbox_id if isinstance(record, ContainerRecord) else record.id
    return record.id, sandbox_id, record.state.value, record.config_bytes, json.dumps(facts)


def sandbox_from_row(row: tuple[str, str, str, bytes, str]) -> SandboxRecord:
    facts = json.loads(row[4])
    facts["ips"] = tuple(facts.get("ips", ()))
    return SandboxRecord(
        id=SandboxID(row[0]), state=SandboxState(row[2]), config_bytes=row[3], **_known(SandboxRecord, facts)
    )


def container_from_row(row: tuple[str, str, str, bytes, str]) -> ContainerRecord:
    facts = json.loads(row[4])
    facts["resources_bytes"] = bytes.fromhex(facts.get("resources_bytes", ""))
    facts["volume_images"] = tuple((path, image) for path, image in facts.get("volume_images", ()))
    if "user" in facts:
        uid, gid, groups = facts["user"]
        facts["user"] = (uid, gid, tuple(groups))
    return ContainerRecord(
        id=ContainerID(row[0]),
        sandbox_id=SandboxID(row[1]),
        state=ContainerState(row[2]),
        config_bytes=row[3],
        **_known(ContainerRecord, facts),
    )


def _known(kind: type[R], facts: dict[str, Any]) -> dict[str, Any]:
    """Without the facts of a newer Coracle, so that going back one version still starts."""
    names = {field.name for field in dataclasses.fields(kind)}
    return {name: value for name, value in facts.items() if name in names}
