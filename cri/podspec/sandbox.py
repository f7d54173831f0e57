"""The pod's own part of a manifest: names, labels, ports, namespaces, sysctls, DNS."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Final

from cri.api import runtime_pb2 as api
from cri.podspec.reader import ManifestError, Reader
from cri.podspec.security import pod_context

# Makes the same uid of the same namespace and name, so that a later call finds the pod of an earlier one.
_UIDS: Final = uuid.UUID("6f0a4c3e-3d0c-4d0e-9b1e-5a0f3f6f5c11")
_PROTOCOLS: Final = {"TCP": api.TCP, "UDP": api.UDP, "SCTP": api.SCTP}


def sandbox_config(manifest: Reader, place: Path) -> api.PodSandboxConfig:
    """`place` is the pod's directory: its logs go there."""
    spec = manifest.table("spec")
    metadata = pod_metadata(manifest)
    context = pod_context(spec)
    sysctls = {entry.text("name"): entry.text("value") for entry in spec.table("securityContext").tables("sysctls")}
    own_network = context.namespace_options.network == api.POD
    return api.PodSandboxConfig(
        metadata=metadata,
        hostname=spec.text("hostname", metadata.name)[:63] if own_network else "",
        log_directory=str(place / "logs"),
        dns_config=_dns(spec.table("dnsConfig")) if spec.has("dnsConfig") else None,
        port_mappings=_ports(spec) if own_network else [],
        labels={
            **manifest.table("metadata").text_map("labels"),
            "io.kubernetes.pod.name": metadata.name,
            "io.kubernetes.pod.namespace": metadata.namespace,
            "io.kubernetes.pod.uid": metadata.uid,
        },
        annotations=manifest.table("metadata").text_map("annotations"),
        linux=api.LinuxPodSandboxConfig(security_context=context, sysctls=sysctls),
    )


def pod_metadata(manifest: Reader) -> api.PodSandboxMetadata:
    metadata = manifest.table("metadata")
    name, namespace = metadata.text("name"), metadata.text("namespace", "default")
    uid = metadata.text("uid", "") or str(uuid.uuid5(_UIDS, f"{namespace}/{name}"))
    return api.PodSandboxMetadata(name=name, namespace=namespace, uid=uid, attempt=0)


def _ports(spec: Reader) -> list[api.PortMapping]:
    mappings = []
    for container in spec.tables("containers"):
        for port in container.tables("ports"):
            port.ignore("name")
            protocol = port.text("protocol", "TCP")
            if protocol not in _PROTOCOLS:
                raise ManifestError(port.where("protocol"), f"{protocol!r} is none of {', '.join(_PROTOCOLS)}")
            mappings.append(
                api.PortMapping(
                    protocol=_PROTOCOLS[protocol],
                    container_port=_port(port, "containerPort"),
                    host_port=_port(port, "hostPort", 0),
                    host_ip=port.text("hostIP", ""),
                )
            )
    return mappings


def _port(entry: Reader, key: str, default: int | None = None) -> int:
    number = entry.number(key, default)
    if not 0 <= number <= 65535 or (number == 0 and default is None):
        raise ManifestError(entry.where(key), f"{number} is not a port")
    return number


def _dns(dns: Reader) -> api.DNSConfig:
    options = []
    for option in dns.tables("options"):
        value = option.text("value", "")
        options.append(f"{option.text('name')}:{value}" if value else option.text("name"))
    return api.DNSConfig(servers=dns.texts("nameservers"), searches=dns.texts("searches"), options=options)
