"""Reads what the metrics of `cri.pod_metrics` are made of: cgroups, /proc, the file system. In a thread: it is slow."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from cri.api import runtime_pb2 as api
from cri.pod_metrics import CONTAINER_FAMILIES, NETWORK_FAMILIES, PRESSURE_FAMILIES, Family, Processes, Reading
from cri.pod_stats import interfaces_of
from cri.state.machine import ContainerState
from cri.state.records import ContainerRecord, SandboxRecord

if TYPE_CHECKING:
    from cri.daemon import Daemon

_PRESSURE = Path("/proc/pressure/cpu")


def container_families(daemon: Daemon) -> tuple[Family, ...]:
    """Those that this host can fill. PSI of a cgroup is only told by cgroup v2."""
    has_pressure = daemon.host.cgroup_v2 and _PRESSURE.exists()
    return (*CONTAINER_FAMILIES, *PRESSURE_FAMILIES) if has_pressure else CONTAINER_FAMILIES


def sandbox_metrics(daemon: Daemon, record: SandboxRecord) -> api.PodSandboxMetrics:
    """Of one pod. A container that ends meanwhile is left out."""
    metadata = record.config.metadata
    message = api.PodSandboxMetrics(pod_sandbox_id=record.id)
    common = (record.cgroup, record.id, "", metadata.namespace, metadata.name, "POD")
    for counters in interfaces_of([record]).get(record.id, []):
        for family, number in NETWORK_FAMILIES:
            message.metrics.extend(family.metrics(common, [((counters.name,), number(counters))], daemon.now()))
    families = container_families(daemon)
    for container in daemon.containers_of(record.id):
        if container.state is not ContainerState.RUNNING:
            continue
        try:
            reading = read_container(daemon, container)
        except (FileNotFoundError, ProcessLookupError):
            continue
        labels = (
            container.cgroup, container.id, container.image_name, metadata.namespace, metadata.name, container.name
        )  # fmt: skip
        one = message.container_metrics.add(container_id=container.id)
        for family in families:
            one.metrics.extend(family.metrics(labels, family.samples(reading), reading.cgroup.timestamp_ns))
    return message


def read_container(daemon: Daemon, record: ContainerRecord) -> Reading:
    cgroup = daemon.cgroups.open(record.cgroup)
    layer = daemon.statistics.layer(record)
    return Reading(
        cgroup=cgroup.stats(),
        memory=cgroup.memory_details(),
        processes=read_processes(cgroup.pids(), record.pid),
        resources=record.resources,
        oom_kills=cgroup.oom_kills(),
        started_at=record.started_at,
        layer_bytes=layer.used_bytes,
        layer_inodes=layer.inodes_used,
        disk=os.statvfs(daemon.paths.root),
    )


def read_processes(pids: tuple[int, ...], first: int) -> Processes:
    threads = descriptors = sockets = 0
    for pid in pids:
        try:
            threads += len(os.listdir(f"/proc/{pid}/task"))
            for name in os.listdir(f"/proc/{pid}/fd"):
                descriptors += 1
                sockets += stat.S_ISSOCK(os.stat(f"/proc/{pid}/fd/{name}").st_mode)
        except (FileNotFoundError, ProcessLookupError):
            continue
    return Processes(
        processes=len(pids),
        threads=threads,
        descriptors=descriptors,
        sockets=sockets,
        open_files_limit=_open_files_limit(first),
    )


def _open_files_limit(pid: int) -> int:
    with open(f"/proc/{pid}/limits", encoding="ascii") as file:
        line = next(line for line in file if line.startswith("Max open files"))
    soft = line.split()[3]
    return 0 if soft == "unlimited" else int(soft)
