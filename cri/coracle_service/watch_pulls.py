"""WatchPulls: the progress of the pulls under way, for `coracle pull` and whoever else wants to draw it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

from cri.api import coracle_pb2 as own
from cri.image_service.source import ImageSource
from cri.rpc import Call
from imagesvc.progress import PullProgress
from imagesvc.reference import parse_reference

_PHASES: Final = own.LayerProgress.Phase


async def watch_pulls(
    daemon: ImageSource, request: own.WatchPullsRequest, call: Call
) -> AsyncIterator[own.WatchPullsResponse]:
    """Raises InvalidReference for an image's name that means nothing."""
    wanted = str(parse_reference(request.image)) if request.image else ""
    async for pulls in daemon.images.watch_progress():
        yield own.WatchPullsResponse(pulls=[_message(pull) for pull in pulls if wanted in ("", pull.image)])


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
    return own.Pull(image=pull.image, layers=layers)
