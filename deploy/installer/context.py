"""What a run of the installer works with: the doors to the host, the node in the cluster, and what was asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from deploy.installer.cluster.node import Node
from deploy.installer.commands import Commands
from deploy.installer.effects import Doors
from deploy.installer.health import kubelet_health
from deploy.installer.host import Host
from deploy.installer.journal import Journal
from deploy.installer.payload import Payload
from deploy.installer.systemd import Systemd


@dataclass(frozen=True, slots=True, kw_only=True)
class SwitchSettings:
    any_node: bool = False
    """Switch without the label that a person sets."""
    allow_control_plane: bool = False
    drain: bool = False
    drain_timeout_s: int = 300
    attempt: str = "1"
    """What was rolled back is tried again only under another name."""
    ready_timeout_s: int = 300
    """From the kubelet's start to a Ready node, before the host rolls back."""
    images: tuple[str, ...] = ()
    """Pulled before the kubelet stops, beside those of static pods."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    host: Host
    commands: Commands
    journal: Journal
    node: Node | None
    """None on a machine that is in no cluster: an image that is being made."""
    payload: Payload | None
    config: Path | None = None
    """TOML that becomes the daemon's drop-in."""
    purge: bool = True
    """An uninstall also removes the daemon's data, if it was not there before."""
    switch: SwitchSettings = SwitchSettings()
    healthz: Callable[[int], str] = kubelet_health
    """For a node whose API server cannot be asked."""

    @property
    def systemd(self) -> Systemd:
        return Systemd(self.commands)

    @property
    def doors(self) -> Doors:
        return Doors(host=self.host, systemd=self.systemd, journal=self.journal)
