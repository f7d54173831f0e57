"""What the network plugins are told of a pod."""

from __future__ import annotations

from cni.values import Attachment, PortMapping, Protocol
from cri.api import runtime_pb2 as api
from cri.state.records import SandboxRecord

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
        cgroup_path=record.cgroup,
    )
