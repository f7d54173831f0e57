"""The host's part: switches, or rolls back, whoever asked and however often it was killed on the way.

`switch` decides by the note in the journal and ends in COMMITTED or ROLLED_BACK. `roll_back` is what the timer starts
when `switch` has not ended, and what an uninstall starts when the node was switched. STUCK is the one state that
needs a person: the old runtime did not come back either.
"""

from __future__ import annotations

import logging
from typing import Final

from deploy.installer import names
from deploy.installer.cluster.kubeconfig import Unreadable
from deploy.installer.context import Context
from deploy.installer.errors import InstallError
from deploy.installer.health import Look
from deploy.installer.stages.unit import answering
from deploy.installer.switching import steps
from deploy.installer.switching.state import Request, Switch, SwitchState, move, read_switch
from deploy.installer.switching.verify import health_look, node_look, wait_until

log: Final = logging.getLogger(__name__)


def switch(context: Context) -> SwitchState | None:
    """The state that it ended in; None when nothing was asked for."""
    with context.journal.locked(wait=True):
        asked = read_switch(context.journal)
        if asked is None:
            return None
        if asked.state in (SwitchState.ROLLING_BACK, SwitchState.REVERTING):
            return _back(context, asked)
        if asked.state not in (SwitchState.REQUESTED, SwitchState.RUNNING):
            _disarm(context)
            return asked.state
        move(context.journal, SwitchState.RUNNING)
        try:
            _forward(context, asked.request)
        except (InstallError, OSError) as error:
            log.error("the switch failed: %s", error)
            return _back(context, move(context.journal, SwitchState.ROLLING_BACK, reason=str(error)))
        ended = move(context.journal, SwitchState.COMMITTED)
        _disarm(context)
        return ended.state


def roll_back(context: Context) -> SwitchState | None:
    """Of a switch that has not ended, or of one that shall be reverted. A committed one is left alone."""
    with context.journal.locked(wait=True):
        asked = read_switch(context.journal)
        if asked is None:
            return None
        if asked.state in (SwitchState.REQUESTED, SwitchState.RUNNING, SwitchState.STUCK):
            reason = asked.reason or "the switch did not end in time"
            asked = move(context.journal, SwitchState.ROLLING_BACK, reason=reason)
        if asked.state not in (SwitchState.ROLLING_BACK, SwitchState.REVERTING):
            _disarm(context)
            return asked.state
        return _back(context, asked)


def _forward(context: Context, request: Request) -> None:
    answering(context)
    steps.pull_images(context, request)
    _arm(context)
    look = _look(context, request, names.RUNTIME_PREFIX)
    steps.stop_kubelet(context)
    steps.clear_pods(context, request.old_endpoint)
    steps.repoint(context, request)
    steps.start_kubelet(context)
    wait_until(look, request.ready_timeout_s)


def _back(context: Context, asked: Switch) -> SwitchState:
    reverting = asked.state is SwitchState.REVERTING
    request = asked.request
    prefix = request.old_runtime.partition("://")[0] + "://" if request.old_runtime else ""
    try:
        look = _look(context, request, prefix)
        if context.journal.standing(steps.STAGE):
            steps.stop_kubelet(context)
            steps.clear_pods(context, names.ENDPOINT)
        for report in steps.put_back(context, request):
            log.warning("%s", report)
        steps.start_kubelet(context)
        wait_until(look, request.ready_timeout_s)
    except (InstallError, OSError) as error:
        log.error("the old runtime did not come back: %s", error)
        reason = f"{asked.reason}; then: {error}" if asked.reason else str(error)
        return move(context.journal, SwitchState.STUCK, reason=reason).state
    ended = SwitchState.REVERTED if reverting else SwitchState.ROLLED_BACK
    move(context.journal, ended)
    _disarm(context)
    return ended


def _look(context: Context, request: Request, prefix: str) -> Look:
    if request.node:
        try:
            return node_look(context.host, request, prefix)
        except Unreadable as error:
            log.warning("%s: only the kubelet's own health is verified", error)
    return health_look(context.systemd, lambda: context.healthz(request.healthz_port))


def _arm(context: Context) -> None:
    context.systemd.enable(names.ROLLBACK_TIMER)
    context.systemd.start(names.ROLLBACK_TIMER)


def _disarm(context: Context) -> None:
    """The timer, and the unit's place in the boot: both are for a switch that has not ended."""
    for unit in (names.ROLLBACK_TIMER, names.SWITCH_UNIT):
        context.commands.run(("systemctl", "disable", "--quiet", unit))
    context.commands.run(("systemctl", "stop", names.ROLLBACK_TIMER))
