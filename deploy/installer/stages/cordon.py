"""Keeps new pods away from the node while it is switched, and moves those away that can go.

A taint of our own beside the cordon: an administrator who uncordons the node does not let pods onto it too early. What
the node was before is noted first; who had cordoned it himself finds it so again.
"""

from __future__ import annotations

from typing import Final

from deploy.installer import names
from deploy.installer.cluster.node import NodeState
from deploy.installer.context import Context

_NOTE: Final = "node"


class Cordon:
    name = "cordon"

    def describe(self, context: Context) -> list[str]:
        if context.node is None:
            return []
        lines = [f"taint node {context.node.name} with {names.TAINT}:NoSchedule and cordon it"]
        if context.switch.drain:
            lines.append(f"evict its pods, for at most {context.switch.drain_timeout_s} s")
        return lines

    def check(self, context: Context) -> None:
        """A node may always be cordoned."""

    def apply(self, context: Context) -> bool:
        node = context.node
        if node is None:
            return False
        if not context.journal.note(_NOTE):
            socket = node.annotation(names.CRI_SOCKET_ANNOTATION) or ""
            context.journal.set_note(_NOTE, cordoned="yes" if node.is_cordoned() else "no", socket=socket)
        node.set_state(NodeState.SWITCHING)
        node.taint(True)
        node.cordon(True)
        if context.switch.drain:
            node.drain(context.switch.drain_timeout_s)
        return True

    def describe_undo(self, context: Context) -> list[str]:
        if context.node is None or not context.journal.note(_NOTE):
            return []
        return [f"untaint node {context.node.name}, and uncordon it if it was not cordoned before"]

    def undo(self, context: Context) -> list[str]:
        """The node is whole again: open it as it was. Its label is not touched."""
        node, note = context.node, context.journal.note(_NOTE)
        if node is None or not note:
            return []
        node.taint(False)
        if note["cordoned"] == "no":
            node.cordon(False)
        context.journal.set_note(_NOTE)
        return []


def point_kubeadm(context: Context, endpoint: str | None) -> None:
    """kubeadm reads the socket from the node's annotation, where it made one. None puts the old one back."""
    note, node = context.journal.note(_NOTE), context.node
    if node is None or not note or not note["socket"]:
        return
    node.annotate(names.CRI_SOCKET_ANNOTATION, endpoint or note["socket"])
