"""One container of a manifest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from cri.api import runtime_pb2 as api
from cri.podspec import quantity
from cri.podspec.reader import LIMIT, ManifestError, Reader
from cri.podspec.security import container_context
from cri.podspec.volumes import Volume, read_mounts

_PERIOD: Final = 100_000
_MIN_SHARES: Final = 2
_FIELDS: Final = {
    "metadata.name": "io.kubernetes.pod.name",
    "metadata.namespace": "io.kubernetes.pod.namespace",
    "metadata.uid": "io.kubernetes.pod.uid",
}


def container_config(
    container: Reader, spec: Reader, sandbox: api.PodSandboxConfig, volumes: Mapping[str, Volume]
) -> api.ContainerConfig:
    name = container.text("name")
    return api.ContainerConfig(
        metadata=api.ContainerMetadata(name=name, attempt=0),
        image=api.ImageSpec(image=container.text("image")),
        command=container.texts("command"),
        args=container.texts("args"),
        working_dir=container.text("workingDir", ""),
        envs=[_variable(entry, sandbox) for entry in container.tables("env")],
        mounts=read_mounts(container, volumes),
        labels={
            "io.kubernetes.container.name": name,
            **{key: value for key, value in sandbox.labels.items() if key.startswith("io.kubernetes.pod.")},
        },
        log_path=f"{name}.log",
        stdin=container.flag("stdin", False),
        stdin_once=container.flag("stdinOnce", False),
        tty=container.flag("tty", False),
        linux=api.LinuxContainerConfig(
            resources=_resources(container.table("resources")), security_context=container_context(container, spec)
        ),
    )


def _variable(entry: Reader, sandbox: api.PodSandboxConfig) -> api.KeyValue:
    name = entry.text("name")
    if not entry.has("valueFrom"):
        return api.KeyValue(key=name, value=entry.text("value", "").encode())
    source = entry.table("valueFrom")
    field = source.table("fieldRef").text("fieldPath", "")
    if field not in _FIELDS:
        raise ManifestError(source.path, f"only fieldRef to {', '.join(_FIELDS)} is known without a cluster")
    return api.KeyValue(key=name, value=sandbox.labels[_FIELDS[field]].encode())


def _resources(resources: Reader) -> api.LinuxContainerResources:
    """As the kubelet does: requests become weights, limits become quotas; a limit alone is also the request."""
    limits, requests = resources.table("limits"), resources.table("requests")
    limit_cpu, limit_memory = _amount(limits, "cpu", 1000), _amount(limits, "memory", 1)
    request_cpu = _amount(requests, "cpu", 1000) or limit_cpu
    _amount(requests, "memory", 1)  # only a scheduler uses it
    return api.LinuxContainerResources(
        cpu_period=_PERIOD if limit_cpu else 0,
        cpu_quota=limit_cpu * _PERIOD // 1000,
        cpu_shares=max(_MIN_SHARES, request_cpu * 1024 // 1000),
        memory_limit_in_bytes=limit_memory,
    )


def _amount(table: Reader, key: str, scale: int) -> int:
    """0 where the manifest says nothing."""
    text = table.scalar(key)
    if not text:
        return 0
    try:
        amount = quantity.to_millis(text) if scale == 1000 else quantity.to_bytes(text)
    except ValueError as error:
        raise ManifestError(table.where(key), str(error)) from None
    if amount * _PERIOD >= LIMIT:
        raise ManifestError(table.where(key), f"{text} is out of range")
    return amount
