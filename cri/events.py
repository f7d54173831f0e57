"""Container events (GetContainerEvents): what changed, in order, to everybody who listens. Nothing is dropped.

The events follow from the records' transitions and from nothing else, so an event can neither be forgotten nor sent for
something that did not happen. Sandboxes have them too: the kubelet tells a sandbox by its own id as the container's.

An event carries the state of the whole pod at its moment, from memory. Its time is later than that of every event
before it, whatever the clock does: the kubelet compares them to decide which state is newer.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator

from cri.api import runtime_pb2 as api
from cri.state.machine import ContainerState, SandboxState
from cri.state.records import ContainerRecord, SandboxRecord
from cri.state.store import Table
from cri.views import container_status, sandbox_status

_CONTAINER_EVENTS: dict[ContainerState, api.ContainerEventType.ValueType] = {
    ContainerState.CREATED: api.CONTAINER_CREATED_EVENT,
    ContainerState.RUNNING: api.CONTAINER_STARTED_EVENT,
    ContainerState.EXITED: api.CONTAINER_STOPPED_EVENT,
}
_SANDBOX_EVENTS: dict[SandboxState, tuple[api.ContainerEventType.ValueType, ...]] = {
    SandboxState.READY: (api.CONTAINER_CREATED_EVENT, api.CONTAINER_STARTED_EVENT),
    SandboxState.NOT_READY: (api.CONTAINER_STOPPED_EVENT,),
}


class Events:
    def __init__(self, sandboxes: Table[SandboxRecord], containers: Table[ContainerRecord]) -> None:
        self._sandboxes = sandboxes
        self._containers = containers
        self._listeners: set[_Listener] = set()
        self._last = 0
        self._closed = False
        sandboxes.observers.append(self._sandbox_changed)
        containers.observers.append(self._container_changed)

    def now(self) -> int:
        """A time later than every one given before, in nanoseconds since the epoch."""
        self._last = max(time.time_ns(), self._last + 1)
        return self._last

    async def listen(self) -> AsyncIterator[api.ContainerEventResponse]:
        """All events from now on, until the daemon ends. A slow listener costs memory, not events."""
        listener = _Listener()
        self._listeners.add(listener)
        try:
            while not self._closed:
                while listener.waiting:
                    yield listener.waiting.popleft()
                listener.more.clear()
                await listener.more.wait()
        finally:
            self._listeners.discard(listener)

    def close(self) -> None:
        self._closed = True
        for listener in self._listeners:
            listener.more.set()

    def _sandbox_changed(self, before: SandboxRecord | None, after: SandboxRecord | None) -> None:
        if not self._listeners:
            return
        if after is None and before is not None:
            if not before.hidden:
                self._publish(api.CONTAINER_DELETED_EVENT, before.id, before)
        elif after is not None and (before is None or before.state is not after.state):
            for kind in _SANDBOX_EVENTS.get(after.state, ()):
                self._publish(kind, after.id, after)

    def _container_changed(self, before: ContainerRecord | None, after: ContainerRecord | None) -> None:
        record = after or before
        if not self._listeners or record is None:
            return
        sandbox = self._sandboxes.get(record.sandbox_id)
        if after is None:
            if not record.hidden:
                self._publish(api.CONTAINER_DELETED_EVENT, record.id, sandbox)
        elif (before is None or before.state is not after.state) and after.state in _CONTAINER_EVENTS:
            self._publish(_CONTAINER_EVENTS[after.state], record.id, sandbox)

    def _publish(
        self, kind: api.ContainerEventType.ValueType, container_id: str, sandbox: SandboxRecord | None
    ) -> None:
        event = api.ContainerEventResponse(container_id=container_id, container_event_type=kind, created_at=self.now())
        if sandbox is not None:
            event.pod_sandbox_status.CopyFrom(sandbox_status(sandbox))
            event.containers_statuses.extend(
                container_status(c) for c in self._containers.grouped(sandbox.id) if not c.hidden
            )
        for listener in self._listeners:
            listener.waiting.append(event)
            listener.more.set()


class _Listener:
    def __init__(self) -> None:
        self.waiting: deque[api.ContainerEventResponse] = deque()
        self.more = asyncio.Event()
