"""PullImage: asks the registry every time, also for an image that is here, since the credentials must be good, too.

Calls for the same image join (`imagesvc`); a caller that goes away leaves the pull to the others, and ends it when it
was the last.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from cri.api import runtime_pb2 as api
from cri.errors import InvalidArgument
from cri.image_service.source import ImageSource
from cri.metrics import Metrics
from cri.rpc import Call
from cri.tracing import step
from imagesvc.errors import ImageError
from imagesvc.progress import Phase, PullProgress
from imagesvc.registry.credentials import Credentials, login_of


async def pull_image(daemon: ImageSource, request: api.PullImageRequest, call: Call) -> api.PullImageResponse:
    if not request.image.image:
        raise InvalidArgument("image.image", "is required")
    credentials = credentials_of(request.auth)
    progress: deque[PullProgress] = deque(maxlen=1)
    try:
        with step("image.pull"):
            image = await daemon.images.pull(request.image.image, credentials, progress.append)
    except ImageError as error:
        daemon.metrics.pull_failed(type(error).__name__)
        raise
    _count(daemon.metrics, progress)
    # The id, not a digest of the manifest: the kubelet compares it with Image.id and Container.image_id.
    return api.PullImageResponse(image_ref=image.id)


def _count(metrics: Metrics, progress: Iterable[PullProgress]) -> None:
    metrics.pulled()
    for layer in (layer for pull in progress for layer in pull.layers):
        if layer.phase is Phase.REUSED:
            metrics.layer_reused(layer.size_bytes)
        else:
            metrics.layer_fetched("layer", layer.size_bytes)


def credentials_of(auth: api.AuthConfig) -> Credentials | None:
    """None when the caller has none. Raises InvalidArgument, which repeats nothing of what was sent."""
    credentials = Credentials(
        username=auth.username,
        password=auth.password,
        auth=auth.auth,
        server_address=auth.server_address,
        identity_token=auth.identity_token,
        registry_token=auth.registry_token,
    )
    if credentials.empty:
        return None
    try:
        login_of(credentials)
    except ValueError:
        raise InvalidArgument("auth.auth", "is not base64 of user:password") from None
    return credentials
