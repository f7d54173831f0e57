"""What is run for a verb: plugin by plugin, with environment and standard input (CNI 1.1, sections 2 to 4). Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum

from cni.config import Document, NetworkConfig, PluginConfig, rank
from cni.result import dump_dns
from cni.values import Attachment, IpRange, host_ports
from oci.values import frozen


class Verb(Enum):
    ADD = "ADD"
    DEL = "DEL"
    CHECK = "CHECK"
    STATUS = "STATUS"
    GC = "GC"


@frozen
class Invocation:
    """`environment` holds the CNI_* variables only; `stdin` is the plugin's configuration."""

    plugin: str
    verb: Verb
    environment: Mapping[str, str]
    stdin: bytes


def order(config: NetworkConfig, verb: Verb) -> tuple[PluginConfig, ...]:
    """DEL undoes the last plugin's work first."""
    return config.plugins[::-1] if verb is Verb.DEL else config.plugins


def supports(config: NetworkConfig, verb: Verb) -> bool:
    """Whether the network's version has the verb, and its configuration allows it."""
    if verb is Verb.CHECK:
        return rank(config.version) >= rank("0.4.0") and not config.disable_check
    if verb is Verb.GC:
        return rank(config.version) >= rank("1.1.0") and not config.disable_gc
    return verb is not Verb.STATUS or rank(config.version) >= rank("1.1.0")


def attachment_invocation(
    config: NetworkConfig,
    plugin: PluginConfig,
    verb: Verb,
    attachment: Attachment,
    bin_dirs: Sequence[str],
    previous: Document | None,
) -> Invocation:
    """ADD, DEL or CHECK of one attachment.

    `previous` is the result of the plugin before this one, for DEL and CHECK the final result of ADD.
    """
    document = _configured(config, plugin)
    if runtime := runtime_config(plugin, attachment):
        document["runtimeConfig"] = runtime
    if previous is not None and (verb is not Verb.DEL or rank(config.version) >= rank("0.4.0")):
        document["prevResult"] = previous
    environment = {
        "CNI_COMMAND": verb.value,
        "CNI_CONTAINERID": attachment.sandbox_id,
        "CNI_NETNS": attachment.netns_path,
        "CNI_IFNAME": attachment.ifname,
        "CNI_ARGS": arguments(attachment),
        "CNI_PATH": ":".join(bin_dirs),
    }
    return Invocation(plugin=plugin.type, verb=verb, environment=environment, stdin=_encode(document))


def status_invocation(config: NetworkConfig, plugin: PluginConfig, bin_dirs: Sequence[str]) -> Invocation:
    environment = {"CNI_COMMAND": Verb.STATUS.value, "CNI_PATH": ":".join(bin_dirs)}
    stdin = _encode(_configured(config, plugin))
    return Invocation(plugin=plugin.type, verb=Verb.STATUS, environment=environment, stdin=stdin)


def gc_invocation(
    config: NetworkConfig, plugin: PluginConfig, valid: Iterable[tuple[str, str]], bin_dirs: Sequence[str]
) -> Invocation:
    """`valid` are the (container id, interface name) pairs that are still in use."""
    attachments = [{"containerID": container_id, "ifname": ifname} for container_id, ifname in sorted(valid)]
    document = _configured(config, plugin)
    # The specification's prose and its example disagree about the key; plugins read either.
    document["cni.dev/valid-attachments"] = attachments
    document["cni.dev/attachments"] = attachments
    environment = {"CNI_COMMAND": Verb.GC.value, "CNI_PATH": ":".join(bin_dirs)}
    return Invocation(plugin=plugin.type, verb=Verb.GC, environment=environment, stdin=_encode(document))


def arguments(attachment: Attachment) -> str:
    """CNI_ARGS as Kubernetes runtimes pass it. A value cannot hold a semicolon: there is no way to quote one."""
    pairs = (
        ("IgnoreUnknown", "1"),
        ("K8S_POD_NAMESPACE", attachment.pod_namespace),
        ("K8S_POD_NAME", attachment.pod_name),
        ("K8S_POD_INFRA_CONTAINER_ID", attachment.sandbox_id),
        ("K8S_POD_UID", attachment.pod_uid),
    )
    return ";".join(f"{key}={value}" for key, value in pairs if ";" not in value)


def runtime_config(plugin: PluginConfig, attachment: Attachment) -> Document:
    """The capability arguments that this plugin asks for and that the attachment has."""
    offered: dict[str, object] = {
        "portMappings": [
            {
                "hostPort": mapping.host_port,
                "containerPort": mapping.container_port,
                "protocol": mapping.protocol.text,
                **({"hostIP": mapping.host_ip} if mapping.host_ip else {}),
            }
            for mapping in host_ports(attachment)
        ],
        "bandwidth": _bandwidth(attachment),
        "ipRanges": [[_range(one) for one in ranges] for ranges in attachment.ip_ranges],
        "dns": _dns(attachment),
        "cgroupPath": attachment.cgroup_path,
        "io.kubernetes.cri.pod-annotations": dict(attachment.annotations),
    }
    return {key: value for key, value in offered.items() if key in plugin.capabilities and value}


def _bandwidth(attachment: Attachment) -> Document:
    limits = attachment.bandwidth
    if limits is None:
        return {}
    fields = {
        "ingressRate": limits.ingress_rate,
        "ingressBurst": limits.ingress_burst,
        "egressRate": limits.egress_rate,
        "egressBurst": limits.egress_burst,
    }
    return {key: value for key, value in fields.items() if value}


def _dns(attachment: Attachment) -> Document:
    if attachment.dns is None:
        return {}
    words = {"servers": "nameservers", "searches": "search", "options": "options"}  # the capability's own names
    written = dump_dns(attachment.dns)
    return {key: written[ours] for key, ours in words.items() if ours in written}


def _range(given: IpRange) -> Document:
    fields = {
        "subnet": given.subnet,
        "rangeStart": given.range_start,
        "rangeEnd": given.range_end,
        "gateway": given.gateway,
    }
    return {key: value for key, value in fields.items() if value}


def _configured(config: NetworkConfig, plugin: PluginConfig) -> dict[str, object]:
    document = dict(plugin.document)
    document["name"] = config.name
    document["cniVersion"] = config.version
    document.pop("runtimeConfig", None)
    document.pop("prevResult", None)
    return document


def _encode(document: Document) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()
