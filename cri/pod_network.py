"""What the network plugins are told of a pod."""

from __future__ import annotations

import re
from collections.abc import Mapping

from cni.values import Attachment, Bandwidth, PortMapping, Protocol
from cri.api import runtime_pb2 as api
from cri.errors import InvalidArgument
from cri.state.records import SandboxRecord

_QUANTITY = re.compile(r"([0-9]+(?:\.[0-9]+)?)(k|M|G|T|Ki|Mi|Gi|Ti|)")
_FACTORS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12} | {
    f"{unit}i": 1 << 10 * power for power, unit in enumerate("KMGT", start=1)
}
_LARGEST_BURST = 2**31 - 1
_PROTOCOLS = {api.TCP: Protocol.TCP, api.UDP: Protocol.UDP, api.SCTP: Protocol.SCTP}


def attachment(record: SandboxRecord) -> Attachment:
    """The same for ADD and for DEL, since it follows from the record alone."""
    metadata = record.config.metadata
    return Attachment(
        sandbox_id=record.id,
        netns_path=record.netns,
        pod_name=metadata.name,
        pod_namespace=metadata.namespace,
        pod_uid=metadata.uid,
        port_mappings=tuple(
            PortMapping(
                protocol=_PROTOCOLS[port.protocol],
                container_port=port.container_port,
                host_port=port.host_port,
                host_ip=port.host_ip,
            )
            for port in record.config.port_mappings
            if port.host_port  # 0 in the CRI: no host port
        ),
        bandwidth=bandwidth(record.config.annotations),
        cgroup_path=record.cgroup,
        annotations=dict(record.config.annotations),
    )


def bandwidth(annotations: Mapping[str, str]) -> Bandwidth | None:
    """Kubernetes' annotations, as the CNI bandwidth capability wants them: rates in bits per second.

    Raises InvalidArgument for what is not a quantity.
    """
    ingress, egress = (_rate(annotations, f"kubernetes.io/{way}-bandwidth") for way in ("ingress", "egress"))
    if not (ingress or egress):
        return None
    # A burst as large as the capability's 32 bits allow: the rate alone limits.
    return Bandwidth(
        ingress_rate=ingress,
        ingress_burst=_LARGEST_BURST if ingress else 0,
        egress_rate=egress,
        egress_burst=_LARGEST_BURST if egress else 0,
    )


def _rate(annotations: Mapping[str, str], name: str) -> int:
    text = annotations.get(name, "")
    if not text:
        return 0
    match = _QUANTITY.fullmatch(text)
    if match is None:
        raise InvalidArgument(f"config.annotations[{name!r}]", f"{text!r} is not a quantity like 10M")
    return int(float(match[1]) * _FACTORS[match[2]])
