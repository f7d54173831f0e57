"""What the installer asks of its node in the cluster, and the states that the node's label shows."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Protocol


class NodeState(StrEnum):
    """The label's values.

    installing ──► installed ──► switching ──► ready
        │                            │           │
        └─► failed ◄─────────────────┘           └──► removing ──► (no label)
    """

    INSTALLING = "installing"
    INSTALLED = "installed"
    SWITCHING = "switching"
    READY = "ready"
    FAILED = "failed"
    REMOVING = "removing"


class Node(Protocol):
    name: str

    def machine_id(self) -> str: ...

    def labels(self) -> Mapping[str, str]: ...

    def state(self) -> NodeState | None:
        """None when the node is not ours."""

    def set_state(self, state: NodeState, message: str = "") -> None: ...

    def forget(self) -> None:
        """Takes our label, annotation and taint away."""

    def is_cordoned(self) -> bool: ...

    def cordon(self, on: bool) -> None: ...

    def taint(self, on: bool) -> None:
        """Nothing new is scheduled here while it is on, whoever uncordons the node."""

    def annotation(self, key: str) -> str | None: ...

    def annotate(self, key: str, value: str | None) -> None: ...

    def runtime_version(self) -> str:
        """As `kubectl get nodes -o wide` shows it: containerd://1.7.0."""

    def kubelet_version(self) -> str: ...

    def is_ready(self) -> bool: ...

    def drain(self, timeout_s: float) -> None:
        """Evicts what no DaemonSet and no static file keeps here. Raises InstallError when pods are left in time."""
