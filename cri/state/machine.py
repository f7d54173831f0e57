"""The life of a sandbox and of a container: every state, every event, every transition.

    sandbox                                            container

      (run)                                              (create)
        │                                                   │
        ▼           FAILED                                  ▼          FAILED
     CREATING ───────────────┐                           CREATING ──────────────┐
        │ MADE               │                              │ MADE              │
        ▼                    │                              ▼                   │
      READY                  │                           CREATED ──DIED──┐      │
        │ STOP, DIED         │                              │ STARTED    │      │
        ▼                    │                              ▼            ▼      │
     STOPPING                │                           RUNNING ──DIED─► EXITED│
        │ STOPPED            │                              │               │   │
        ▼                    ▼                              │ REMOVE        │ REMOVE
     NOT_READY ──REMOVE──► REMOVING ──► (gone)              └─────────────► REMOVING ──► (gone)

CREATING and REMOVING exist on disk so that a daemon that died in the middle knows what to undo: a record in one of
them names everything that was about to be made, and tearing down is idempotent. Clients see neither a container or
sandbox that is still CREATING, nor a difference between STOPPING, NOT_READY and REMOVING, or EXITED and REMOVING.

All transitions stand in this file. An illegal move raises `IllegalTransition` and changes nothing.
"""

from __future__ import annotations

import enum

from cri.errors import FailedPrecondition


class SandboxState(enum.StrEnum):
    CREATING = "creating"  #: being made; everything it will own is already named in its record
    READY = "ready"  #: has its namespaces and its network, accepts containers
    STOPPING = "stopping"  #: containers are being killed, the network is being released
    NOT_READY = "not_ready"  #: holds nothing but its record
    REMOVING = "removing"  #: the record goes as soon as everything else is gone


class ContainerState(enum.StrEnum):
    CREATING = "creating"  #: being made; everything it will own is already named in its record
    CREATED = "created"  #: its init waits for Start
    RUNNING = "running"  #: its init has executed the workload
    EXITED = "exited"  #: its init has been reaped, or never came to run
    REMOVING = "removing"  #: the record goes as soon as everything else is gone


class Event(enum.StrEnum):
    MADE = "made"
    FAILED = "failed"
    STARTED = "started"
    DIED = "died"
    STOP = "stop"
    STOPPED = "stopped"
    REMOVE = "remove"


_S, _C, _E = SandboxState, ContainerState, Event

SANDBOX_TRANSITIONS: dict[SandboxState, dict[Event, SandboxState]] = {
    _S.CREATING: {_E.MADE: _S.READY, _E.FAILED: _S.REMOVING, _E.REMOVE: _S.REMOVING},
    _S.READY: {_E.STOP: _S.STOPPING, _E.REMOVE: _S.REMOVING, _E.DIED: _S.STOPPING},
    _S.STOPPING: {_E.STOP: _S.STOPPING, _E.STOPPED: _S.NOT_READY, _E.REMOVE: _S.REMOVING, _E.DIED: _S.STOPPING},
    _S.NOT_READY: {_E.STOP: _S.STOPPING, _E.REMOVE: _S.REMOVING, _E.DIED: _S.NOT_READY},
    _S.REMOVING: dict.fromkeys((_E.FAILED, _E.REMOVE, _E.STOP, _E.STOPPED, _E.DIED), _S.REMOVING),
}

CONTAINER_TRANSITIONS: dict[ContainerState, dict[Event, ContainerState]] = {
    _C.CREATING: {_E.MADE: _C.CREATED, _E.FAILED: _C.REMOVING, _E.REMOVE: _C.REMOVING},
    _C.CREATED: {_E.STARTED: _C.RUNNING, _E.DIED: _C.EXITED, _E.FAILED: _C.REMOVING, _E.REMOVE: _C.REMOVING},
    _C.RUNNING: {_E.DIED: _C.EXITED, _E.REMOVE: _C.REMOVING},
    _C.EXITED: {_E.REMOVE: _C.REMOVING, _E.DIED: _C.EXITED},
    _C.REMOVING: dict.fromkeys((_E.FAILED, _E.REMOVE, _E.DIED), _C.REMOVING),
}


class IllegalTransition(FailedPrecondition):
    """`event` cannot happen to something that is in `state`."""

    def __init__(self, what: str, state: str, event: Event) -> None:
        super().__init__(f"{what} is {state}: cannot be {event}")
        self.what, self.state, self.event = what, state, event


def next_sandbox_state(what: str, state: SandboxState, event: Event) -> SandboxState:
    try:
        return SANDBOX_TRANSITIONS[state][event]
    except KeyError:
        raise IllegalTransition(what, state, event) from None


def next_container_state(what: str, state: ContainerState, event: Event) -> ContainerState:
    try:
        return CONTAINER_TRANSITIONS[state][event]
    except KeyError:
        raise IllegalTransition(what, state, event) from None
