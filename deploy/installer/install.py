"""The verbs of the pod's side: install, switch, uninstall, each from wherever a former run was killed.

Every verb takes the lock, asks all checks first, then runs its stages in order. Nothing here waits for the host: that
is `follow.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from deploy.installer import names
from deploy.installer.cluster.node import NodeState
from deploy.installer.context import Context
from deploy.installer.errors import NotVerified, Refused
from deploy.installer.stages import INSTALL, SWITCH, Stage
from deploy.installer.stages.cordon import Cordon, point_kubeadm
from deploy.installer.stages.hand_over import HandOver
from deploy.installer.stages.permission import Permission
from deploy.installer.switching.state import UNDER_WAY, SwitchState, move, read_switch

Report = Callable[[str, str], None]
"""Takes a stage's name and a line about it."""

#: The kubelet has its former runtime.
ENDED_BACK: Final = (SwitchState.ROLLED_BACK, SwitchState.REVERTED)


def install(context: Context, report: Report) -> None:
    context.journal.clear_leftovers()
    for stage in INSTALL:
        stage.check(context)
    with context.journal.locked():
        _run(context, INSTALL, report)


class RolledBackBefore(NotVerified):
    """This attempt was made and undone: it would only end so again."""


def switch(context: Context, report: Report) -> SwitchState:
    """Hands the switch over to the host; answers the state that it is in, which then is the host's to change.

    The node must be installed. A switch that was rolled back is not tried again by the same build in the same attempt.
    """
    with context.journal.locked():
        now = read_switch(context.journal)
        if now is not None and now.state not in ENDED_BACK:
            return now.state
        build = context.payload.identity if context.payload else ""
        attempt = (build, context.switch.attempt)
        if (
            now is not None
            and now.state is SwitchState.ROLLED_BACK
            and (now.request.build, now.request.attempt) == attempt
        ):
            raise RolledBackBefore(f"rolled back here before ({now.reason}): try again with another --attempt")
        for stage in SWITCH:
            stage.check(context)
        _run(context, SWITCH, report)
    context.systemd.start(names.SWITCH_UNIT, wait=False)
    return SwitchState.REQUESTED


def finish(context: Context, report: Report) -> SwitchState | None:
    """What only the pod can do after the host has ended: the node's label, taint and cordon. Repeatable."""
    with context.journal.locked():
        now = read_switch(context.journal)
        if now is None or now.state in UNDER_WAY:
            return now.state if now else None
        if context.node is not None:
            _show(context, now.state, now.reason)
        report("finish", f"the switch is {now.state.value}{f': {now.reason}' if now.reason else ''}")
        return now.state


def _show(context: Context, state: SwitchState, reason: str) -> None:
    node = context.node
    if node is None or node.state() is NodeState.REMOVING:
        return
    if state is SwitchState.COMMITTED:
        point_kubeadm(context, names.ENDPOINT)
        _open(context)
        node.set_state(NodeState.READY)
    elif state in ENDED_BACK:
        _open(context)
        node.set_state(NodeState.FAILED, f"rolled back: {reason}")
    else:
        # The taint stays: nothing shall be scheduled on a node without a runtime.
        node.set_state(NodeState.FAILED, f"needs a person: {reason}")


def _open(context: Context) -> None:
    """As `Cordon.undo`, but what was noted is kept for the uninstall."""
    node, note = context.node, context.journal.note("node")
    if node is None or not note:
        return
    node.taint(False)
    if note["cordoned"] == "no":
        node.cordon(False)


def revert(context: Context, report: Report) -> SwitchState | None:
    """The first half of an uninstall: the kubelet gets its old runtime back, by the host. None: nothing to revert."""
    with context.journal.locked():
        now = read_switch(context.journal)
        if now is None or now.state in ENDED_BACK:
            return now.state if now else None
        if now.state in UNDER_WAY and now.state is not SwitchState.REVERTING:
            return now.state
        if context.node is not None:
            context.node.set_state(NodeState.REMOVING)
            context.node.taint(True)
            context.node.cordon(True)
            if context.switch.drain:
                context.node.drain(context.switch.drain_timeout_s)
        move(context.journal, SwitchState.REVERTING)
        report("revert", f"start {names.ROLLBACK_UNIT}")
    context.systemd.start(names.ROLLBACK_UNIT, wait=False)
    return SwitchState.REVERTING


def remove(context: Context, report: Report) -> list[str]:
    """The second half: undoes every stage by its record, last first, and the record itself at the end.

    Raises Refused while the kubelet uses Coracle.
    """
    context.journal.clear_leftovers()
    reports: list[str] = []
    if context.host.exists(names.RECORD):
        with context.journal.locked():
            now = read_switch(context.journal)
            if now is not None and now.state not in ENDED_BACK:
                raise Refused(f"the kubelet uses Coracle (switch: {now.state.value})", "revert the switch first")
            if context.node is not None:
                context.node.set_state(NodeState.REMOVING)
            point_kubeadm(context, None)
            for stage in reversed((*INSTALL[2:], Cordon(), HandOver())):
                for line in stage.describe_undo(context):
                    report(stage.name, line)
                reports += stage.undo(context)
            context.journal.erase()
    INSTALL[1].undo(context)
    return reports


def plan(context: Context, verb: str) -> list[tuple[str, str]]:
    """What `verb` would do now, by stage. Checks are asked, nothing is changed."""
    lines: list[tuple[str, str]] = []
    if verb == "uninstall":
        now = read_switch(context.journal)
        if now is not None and now.state not in ENDED_BACK:
            lines.append(("revert", f"the host gives the kubelet back to {now.request.old_endpoint}"))
        for stage in reversed((*INSTALL, *SWITCH)):
            lines += [(stage.name, line) for line in stage.describe_undo(context)]
        return [*lines, ("record", f"remove {names.RECORD}")] if context.journal.exists else lines
    stages = INSTALL if verb == "install" else (*INSTALL, *SWITCH)
    for stage in stages:
        try:
            stage.check(context)
            lines += [(stage.name, line) for line in stage.describe(context)]
        except Refused as error:
            lines.append((stage.name, f"REFUSED: {error}"))
            if not isinstance(stage, Permission):
                break
    return lines


def _run(context: Context, stages: Sequence[Stage], report: Report) -> None:
    for stage in stages:
        for line in stage.describe(context):
            report(stage.name, line)
        stage.apply(context)
