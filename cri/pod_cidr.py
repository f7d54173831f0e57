"""The node's pod CIDR, which the kubelet tells with UpdateRuntimeConfig, as the built-in network's addresses.

Only where nobody configured others (`network.subnets`). What is in force is kept in `<root>/pod-cidr`, so that a daemon
that starts anew gives the same addresses before any kubelet speaks to it. A range is not taken over while pods have
addresses of another: they would lose their way out.
"""

from __future__ import annotations

import ipaddress
import os
from pathlib import Path
from typing import TYPE_CHECKING

from cni.errors import ConfigError
from cni.values import BuiltinSubnet
from cri.config.schema import Settings, has_own_subnets
from cri.errors import FailedPrecondition, InvalidArgument
from cri.log_lines import fields

if TYPE_CHECKING:
    from cri.daemon import Daemon

_FIELD = "runtime_config.network_config.pod_cidr"


def parse(text: str) -> tuple[str, ...]:
    """From "10.1.2.0/24" or "10.1.2.0/24,fd00::/64". Raises InvalidArgument."""
    cidrs = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        try:
            cidrs.append(str(ipaddress.ip_network(part, strict=False)))
        except ValueError as error:
            raise InvalidArgument(_FIELD, str(error)) from error
    return tuple(cidrs)


def subnets(settings: Settings) -> tuple[str, ...]:
    """What the built-in network begins with: the configuration's, else what was in force last."""
    if has_own_subnets(settings):
        return settings.network.subnets
    try:
        kept = parse(_file(settings.root).read_text())
    except (FileNotFoundError, InvalidArgument):  # a file that nobody can read is as good as none
        kept = ()
    return kept or settings.network.subnets


async def take_over(daemon: Daemon, text: str) -> None:
    """Raises InvalidArgument, and FailedPrecondition for a range that this host uses elsewhere."""
    told = parse(text)
    if not told:
        return
    if has_own_subnets(daemon.settings):
        daemon.log.info("the kubelet's pod CIDR is not used: network.subnets is set", extra=fields(pod_cidr=text))
        return
    try:
        moved = await daemon.networks.move(tuple(BuiltinSubnet(subnet=cidr) for cidr in told))
    except ConfigError as error:
        raise FailedPrecondition(f"the pod CIDR {text} cannot be used, pods go on as they were: {error}") from error
    if moved:
        _keep(daemon.settings.root, ",".join(told))
    else:
        daemon.log.warning(
            "the kubelet's pod CIDR is not used while pods have other addresses; told again after them, it is",
            extra=fields(pod_cidr=text),
        )


def _file(root: Path) -> Path:
    return root / "pod-cidr"


def _keep(root: Path, text: str) -> None:
    path = _file(root)
    fresh = path.with_suffix(".new")
    fresh.write_text(text + "\n")
    os.replace(fresh, path)
