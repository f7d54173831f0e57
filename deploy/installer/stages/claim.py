"""Says in the cluster that this node is being worked on, before anything on it is changed.

The label's key is there from now until an uninstall has ended, whatever happens in between: a half-installed node is
found by it.
"""

from __future__ import annotations

from deploy.installer.cluster.node import NodeState
from deploy.installer.context import Context


class Claim:
    name = "claim"

    def describe(self, context: Context) -> list[str]:
        if context.node is None or context.node.state() is not None:
            return []
        return [f"label node {context.node.name} as {NodeState.INSTALLING.value}"]

    def check(self, context: Context) -> None:
        """Anybody may be claimed."""

    def apply(self, context: Context) -> bool:
        if context.node is None or context.node.state() is not None:
            return False
        context.node.set_state(NodeState.INSTALLING)
        return True

    def describe_undo(self, context: Context) -> list[str]:
        if context.node is None or context.node.state() is None:
            return []
        return [f"remove label, taint and annotation from node {context.node.name}"]

    def undo(self, context: Context) -> list[str]:
        if context.node is not None:
            context.node.forget()
        return []
