"""GetContainerEvents: a stream that lasts as long as the client listens."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from cri.api import runtime_pb2 as api

if TYPE_CHECKING:
    from cri.daemon import Daemon
    from cri.rpc import Call


async def get_container_events(
    daemon: Daemon, request: api.GetEventsRequest, call: Call
) -> AsyncIterator[api.ContainerEventResponse]:
    async for event in daemon.events.listen():
        yield event
