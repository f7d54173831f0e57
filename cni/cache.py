"""What was attached, how, and with what result: for DEL, CHECK and GC, also after a restart of the daemon.

    <cache dir>/
        <sandbox id>-<interface>.json     one attachment

A record keeps the whole configuration that made the attachment: DEL must run the chain that ADD ran, whatever the
configuration directory holds by then. Files are replaced by rename and not synced; one that a power failure tore is no
record, and its attachment did not survive either.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from cni.config import Document, NetworkConfig, parse_document
from cni.errors import ConfigError
from cni.values import Attachment, Bandwidth, Dns, IpRange, PortMapping, Protocol
from oci.values import frozen

_SUFFIX: Final = ".json"
_FORMAT: Final = 1


@frozen
class Record:
    """`config` is None for the built-in network. `result` is None while ADD runs, or when it did not end."""

    attachment: Attachment
    network: str
    config: NetworkConfig | None
    result: Document | None


class Cache:
    """Blocking. One writer for each attachment at a time."""

    def __init__(self, directory: str) -> None:
        self._directory = Path(directory)
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    def write(self, record: Record) -> None:
        path = self._path(record.attachment.sandbox_id, record.attachment.ifname)
        new = path.with_suffix(".new")
        new.write_text(json.dumps(_dump(record), separators=(",", ":")))
        os.replace(new, path)

    def read(self, sandbox_id: str, ifname: str) -> Record | None:
        return _read(self._path(sandbox_id, ifname))

    def remove(self, sandbox_id: str, ifname: str) -> None:
        self._path(sandbox_id, ifname).unlink(missing_ok=True)

    def records(self) -> Iterator[Record]:
        for path in sorted(self._directory.glob(f"*{_SUFFIX}")):
            if record := _read(path):
                yield record

    def _path(self, sandbox_id: str, ifname: str) -> Path:
        return self._directory / f"{sandbox_id}-{ifname}{_SUFFIX}"


def _read(path: Path) -> Record | None:
    try:
        document = json.loads(path.read_text())
        return _parse(path, document)
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, ConfigError):
        return None  # torn, or of an unknown format: as good as none (see above)


def _dump(record: Record) -> Document:
    a = record.attachment
    return {
        "format": _FORMAT,
        "network": record.network,
        "config": record.config.to_json() if record.config else None,
        "result": record.result,
        "attachment": {
            "sandbox_id": a.sandbox_id,
            "netns_path": a.netns_path,
            "ifname": a.ifname,
            "pod_name": a.pod_name,
            "pod_namespace": a.pod_namespace,
            "pod_uid": a.pod_uid,
            "cgroup_path": a.cgroup_path,
            "annotations": dict(a.annotations),
            "port_mappings": [
                [m.protocol.text, m.host_ip, m.host_port, m.container_port] for m in a.port_mappings
            ],
            "bandwidth": _bandwidth_numbers(a.bandwidth) if a.bandwidth else None,
            "dns": [a.dns.nameservers, a.dns.domain, a.dns.search, a.dns.options] if a.dns else None,
            "ip_ranges": [[[r.subnet, r.range_start, r.range_end, r.gateway] for r in rs] for rs in a.ip_ranges],
        },
    }  # fmt: skip


def _bandwidth_numbers(limits: Bandwidth) -> list[int]:
    return [limits.ingress_rate, limits.ingress_burst, limits.egress_rate, limits.egress_burst]


def _parse(path: Path, document: dict[str, object]) -> Record:
    if document["format"] != _FORMAT:
        raise ValueError(f"{path}: unknown format {document['format']}")
    config, result, network = document["config"], document["result"], document["network"]
    if not isinstance(network, str) or not isinstance(result, dict | None):
        raise TypeError(f"{path}: not a record")
    return Record(
        attachment=_parse_attachment(document["attachment"]),
        network=network,
        config=parse_document(str(path), config) if config is not None else None,
        result=result,
    )


def _parse_attachment(given: object) -> Attachment:
    if not isinstance(given, dict):
        raise TypeError("not an attachment")
    fields = dict(given)
    dns, bandwidth = fields.pop("dns"), fields.pop("bandwidth")
    ports, ranges = fields.pop("port_mappings"), fields.pop("ip_ranges")
    return Attachment(
        **fields,
        port_mappings=tuple(
            PortMapping(protocol=Protocol[text.upper()], host_ip=ip, host_port=host, container_port=port)
            for text, ip, host, port in ports
        ),
        bandwidth=Bandwidth(
            ingress_rate=bandwidth[0],
            ingress_burst=bandwidth[1],
            egress_rate=bandwidth[2],
            egress_burst=bandwidth[3],
        )
        if bandwidth
        else None,
        dns=Dns(nameservers=tuple(dns[0]), domain=dns[1], search=tuple(dns[2]), options=tuple(dns[3])) if dns else None,
        ip_ranges=tuple(
            tuple(IpRange(subnet=s, range_start=b, range_end=e, gateway=g) for s, b, e, g in one) for one in ranges
        ),
    )
