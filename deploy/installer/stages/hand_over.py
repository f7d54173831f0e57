"""Gives the work to the host: its units, the request, and the start of coracle-switch.service.

From here on the pod may die. What the host decides is in the journal.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from deploy.installer import names
from deploy.installer.context import Context
from deploy.installer.effects import Effect
from deploy.installer.errors import Refused
from deploy.installer.stages.permission import this_kubelet
from deploy.installer.stages.stage import EffectStage
from deploy.installer.switching import steps
from deploy.installer.switching.state import UNDER_WAY, Request, SwitchState, move, read_switch
from deploy.installer.switching.units import unit_files

_UNITS: Final = (names.ROLLBACK_TIMER, names.SWITCH_UNIT)


class HandOver(EffectStage):
    name = "hand-over"

    def effects(self, context: Context) -> Iterator[Effect]:
        assert context.payload is not None  # the artifacts' check came before
        program = f"{names.INSTALL_ROOT}/{context.payload.version}/bin/coracle-installer"
        yield from unit_files(program, context.switch.ready_timeout_s)

    def describe(self, context: Context) -> list[str]:
        request = request_of(context)
        host = [f"on the host: {line}" for line in steps.describe(context, request)]
        return [*super().describe(context), f"enable and start {names.SWITCH_UNIT}", *host]

    def apply(self, context: Context) -> bool:
        super().apply(context)
        now = read_switch(context.journal)
        if now is None or now.state not in UNDER_WAY:
            move(context.journal, SwitchState.REQUESTED, request=request_of(context))
        context.systemd.enable(names.SWITCH_UNIT)
        return True

    def undo(self, context: Context) -> list[str]:
        if context.journal.standing(self.name):
            for unit in (*_UNITS, names.ROLLBACK_UNIT):
                if context.systemd.state(unit).active:
                    context.systemd.stop(unit)
            for unit in _UNITS:
                if context.systemd.state(unit).enabled:
                    context.systemd.disable(unit)
        return super().undo(context)


def request_of(context: Context) -> Request:
    if context.payload is None:
        raise Refused("a switch needs the build that it switches to", "give --payload")
    kubelet = this_kubelet(context)
    if kubelet.endpoint == names.ENDPOINT and not context.journal.standing(steps.STAGE):
        raise Refused("the kubelet uses Coracle already, and not by our doing")
    return Request(
        node=context.node.name if context.node else "",
        old_endpoint=kubelet.endpoint,
        old_runtime=context.node.runtime_version() if context.node else "",
        kubeconfig=kubelet.kubeconfig,
        healthz_port=kubelet.healthz_port,
        ready_timeout_s=context.switch.ready_timeout_s,
        images=context.switch.images,
        build=context.payload.identity,
        attempt=context.switch.attempt,
    )
