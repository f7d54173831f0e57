"""Version: who answers. The kubelet asks when it connects and then once a minute."""

from __future__ import annotations

from cri.api import runtime_pb2 as api
from cri.rpc import Call
from cri.version import CRI_VERSION, KUBELET_API_VERSION, RUNTIME_NAME, VERSION


async def version(daemon: object, request: api.VersionRequest, call: Call) -> api.VersionResponse:
    """The same whatever the caller says of itself: the kubelet wants its own 0.1.0 back, crictl sends v1."""
    return api.VersionResponse(
        version=KUBELET_API_VERSION,
        runtime_name=RUNTIME_NAME,
        runtime_version=VERSION,
        runtime_api_version=CRI_VERSION,
    )
