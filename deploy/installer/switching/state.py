"""What was asked of the host and how far it is.

    (none) ──► requested ──► running ──► committed ──► reverting ──► reverted
                                │                          │
                                └──► rolling-back ──► rolled-back
                                          │                │
                                          └──► stuck ◄─────┘   the old runtime did not come back either

The note in the journal is the only truth: pod and host read it, whoever holds the lock writes it.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from deploy.installer.health import DEFAULT_PORT
from deploy.installer.journal import Journal

_NOTE: Final = "switch"


class SwitchState(StrEnum):
    REQUESTED = "requested"
    RUNNING = "running"
    COMMITTED = "committed"
    ROLLING_BACK = "rolling-back"
    ROLLED_BACK = "rolled-back"
    REVERTING = "reverting"
    REVERTED = "reverted"
    STUCK = "stuck"


MOVES: Final = {
    None: {SwitchState.REQUESTED},
    SwitchState.REQUESTED: {SwitchState.RUNNING, SwitchState.ROLLING_BACK, SwitchState.REVERTING},
    SwitchState.RUNNING: {SwitchState.COMMITTED, SwitchState.ROLLING_BACK, SwitchState.REVERTING},
    SwitchState.ROLLING_BACK: {SwitchState.ROLLED_BACK, SwitchState.STUCK, SwitchState.REVERTING},
    SwitchState.ROLLED_BACK: {SwitchState.REQUESTED, SwitchState.REVERTING},
    SwitchState.COMMITTED: {SwitchState.REVERTING},
    SwitchState.REVERTING: {SwitchState.REVERTED, SwitchState.STUCK},
    SwitchState.REVERTED: {SwitchState.REQUESTED, SwitchState.REVERTING},
    SwitchState.STUCK: {SwitchState.REVERTING, SwitchState.ROLLING_BACK},
}

#: The host is at it; the pod only waits.
UNDER_WAY: Final = frozenset(
    {SwitchState.REQUESTED, SwitchState.RUNNING, SwitchState.ROLLING_BACK, SwitchState.REVERTING}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What the host has to know; it can ask nobody once the kubelet has stopped."""

    node: str = ""
    """Its name in the cluster; empty: the kubelet's own health is all that is verified."""
    old_endpoint: str
    old_runtime: str = ""
    """As the node showed it before: containerd://1.7.0."""
    kubeconfig: str
    healthz_port: int = DEFAULT_PORT
    ready_timeout_s: int
    images: tuple[str, ...] = ()
    build: str = ""
    attempt: str = ""
    """Which build asked, in which attempt: after a roll-back the same two do not ask again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Switch:
    state: SwitchState
    request: Request
    reason: str = ""


def read_switch(journal: Journal) -> Switch | None:
    note = journal.note(_NOTE)
    if not note:
        return None
    request = json.loads(note["request"])
    return Switch(
        state=SwitchState(note["state"]),
        request=Request(**{**request, "images": tuple(request["images"])}),
        reason=note["reason"],
    )


def move(journal: Journal, to: SwitchState, *, request: Request | None = None, reason: str = "") -> Switch:
    """The journal must be locked. The same state again is no move, so that every caller may repeat itself."""
    now = read_switch(journal)
    asked = request or (now.request if now else None)
    if asked is None or (now is not None and to is not now.state and to not in MOVES[now.state]):
        raise ValueError(f"a switch that is {now.state.value if now else 'not asked for'} cannot become {to.value}")
    if now is None and to not in MOVES[None]:
        raise ValueError(f"no switch was asked for: it cannot become {to.value}")
    moved = Switch(state=to, request=asked, reason=reason or (now.reason if now and request is None else ""))
    journal.set_note(_NOTE, state=to.value, reason=moved.reason, request=json.dumps(dataclasses.asdict(asked)))
    return moved
