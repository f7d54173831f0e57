"""What goes into a network and what comes out: attachments, results, status, settings. Values only, no I/O.

An attachment is one pod interface in one network namespace. It is named by (sandbox id, interface name), as the CNI
specification names it by (container id, ifname), and carries everything any verb may need.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from enum import Enum
from typing import Final

from cni.errors import InvalidAttachment
from oci.values import fresh, frozen

CONTAINER_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]*\Z")
YOUNG_SECONDS: Final = 60.0
"""A reservation younger than this may be of an attachment that somebody else is making."""
_IFNAME_MAX: Final = 15  # IFNAMSIZ - 1


class Protocol(Enum):
    """Transport protocols of host ports; the value is the IP protocol number."""

    TCP = 6
    UDP = 17
    SCTP = 132

    @property
    def text(self) -> str:
        return self.name.lower()


@frozen
class PortMapping:
    """A host port that leads to a port of the pod. An empty `host_ip` means every local address, 127.0.0.1 too."""

    container_port: int
    host_port: int
    protocol: Protocol = Protocol.TCP
    host_ip: str = ""


@frozen
class Bandwidth:
    """Limits in bits per second and bits, 0 for none, as the `bandwidth` capability takes them."""

    ingress_rate: int = 0
    ingress_burst: int = 0
    egress_rate: int = 0
    egress_burst: int = 0


@frozen
class Dns:
    nameservers: tuple[str, ...] = ()
    domain: str = ""
    search: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


@frozen
class IpRange:
    """One address range of the `ipRanges` capability."""

    subnet: str
    range_start: str = ""
    range_end: str = ""
    gateway: str = ""


@frozen
class Attachment:
    """`netns_path` may be empty, or lead nowhere, for delete(): the namespace may be gone already."""

    sandbox_id: str
    netns_path: str
    ifname: str = "eth0"
    pod_name: str = ""
    pod_namespace: str = ""
    pod_uid: str = ""
    port_mappings: tuple[PortMapping, ...] = ()
    bandwidth: Bandwidth | None = None
    dns: Dns | None = None
    ip_ranges: tuple[tuple[IpRange, ...], ...] = ()
    cgroup_path: str = ""
    annotations: Mapping[str, str] = fresh(default_factory=dict)


@frozen
class NetworkResult:
    """`ips` are the pod's addresses on `ifname` without prefix length, the primary first."""

    network: str
    ifname: str
    ips: tuple[str, ...] = ()
    gateways: tuple[str, ...] = ()
    mac: str = ""
    dns: Dns = fresh(default_factory=Dns)


@frozen
class NetworkStatus:
    """`reason` and `message` as the CRI's NetworkReady condition takes them; both empty when ready."""

    ready: bool
    network: str = ""
    reason: str = ""
    message: str = ""


@frozen
class BuiltinSubnet:
    """One address range of the built-in network; unset ends mean the first and last usable address of `subnet`."""

    subnet: str
    range_start: str = ""
    range_end: str = ""
    gateway: str = ""
    exclude: tuple[str, ...] = ()


@frozen
class BuiltinNetwork:
    """The network that serves when nothing else is installed. One address of each family is given to every pod."""

    name: str = "coracle"
    bridge: str = "coracle0"
    subnets: tuple[BuiltinSubnet, ...] = (BuiltinSubnet(subnet="10.86.0.0/16"),)
    mtu: int = 1500
    masquerade: bool = True
    hairpin: bool = True
    data_dir: str = "/var/lib/cni/networks"


@frozen
class NetworkSettings:
    """`timeout_seconds` bounds a verb over a whole chain; STATUS runs every `status_interval_seconds`."""

    conf_dir: str = "/etc/cni/net.d"
    bin_dirs: tuple[str, ...] = ("/opt/cni/bin", "/usr/lib/cni")
    cache_dir: str = "/var/lib/coracle/cni"
    builtin: BuiltinNetwork | None = fresh(default_factory=BuiltinNetwork)
    network: str = ""  # serve this network of conf_dir instead of the first
    timeout_seconds: float = 60.0
    status_interval_seconds: float = 15.0


def validate(attachment: Attachment) -> None:
    """Raise `InvalidAttachment` for what no network can do. Rules of names: CNI 1.1, section 2, Parameters."""
    if not CONTAINER_ID.match(attachment.sandbox_id):
        raise InvalidAttachment("sandbox id", f'"{attachment.sandbox_id}" is not a CNI container id')
    name = attachment.ifname
    if not name or len(name) > _IFNAME_MAX or name in (".", "..") or any(c in "/:" or c.isspace() for c in name):
        raise InvalidAttachment("interface name", f'"{name}" is not an interface name of 1 to {_IFNAME_MAX} characters')
    for mapping in attachment.port_mappings:
        _validate_mapping(mapping)


def _validate_mapping(mapping: PortMapping) -> None:
    if not 0 <= mapping.host_port <= 0xFFFF:
        raise InvalidAttachment("host port", f"{mapping.host_port} is not in 0..65535")
    if not 0 < mapping.container_port <= 0xFFFF:
        raise InvalidAttachment("container port", f"{mapping.container_port} is not in 1..65535")
    if mapping.host_ip:
        try:
            ipaddress.ip_address(mapping.host_ip)
        except ValueError:
            raise InvalidAttachment("host address", f'"{mapping.host_ip}" is not an IP address') from None


def host_ports(attachment: Attachment) -> tuple[PortMapping, ...]:
    """The mappings that ask for a host port; the kubelet sends 0 for "none"."""
    return tuple(mapping for mapping in attachment.port_mappings if mapping.host_port)
