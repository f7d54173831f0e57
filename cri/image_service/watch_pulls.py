"""WatchPulls: the progress of the pulls under way, for `coracle pull` and whoever else wants to draw it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Final

from cri.api import coracle_pb2 as own
from cri.image_service.source import ImageSource
from cri.rpc import Call

if TYPE_CHECKING:
    from imagesvc.service import PullProgress

_PHASES: Final = own.LayerProgress.Phase


async def watch_pulls(
    daemon: ImageSource, request: own.WatchPullsRequest, call: Call
) -> AsyncIterator[own.WatchPullsResponse]:
    async for pulls in daemon.images.watch_progress():
        wanted = [pull for pull in pulls if request.image in ("", pull.name)]
        yield own.WatchPullsResponse(pulls=[_message(pull) for pull in wanted])


def _message(pull: PullProgress) -> own.Pull:
    layers = [
        own.LayerProgress(
            digest=layer.digest,
            phase=_PHASES.Value(layer.phase.name),
            fetched_bytes=layer.fetched_bytes,
            size_bytes=layer.size_bytes,
        )
        for layer in pull.layers
    ]
    return own.Pull(image=pull.name, layers=layers)
