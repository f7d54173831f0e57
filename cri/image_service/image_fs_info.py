"""ImageFsInfo: how much disk the images take. From memory: the kubelet does not start before it has this answer."""

from __future__ import annotations

from cri.api import runtime_pb2 as api
from cri.image_service.source import ImageSource
from cri.rpc import Call


async def image_fs_info(daemon: ImageSource, request: api.ImageFsInfoRequest, call: Call) -> api.ImageFsInfoResponse:
    """Images and containers' writable layers lie on the same filesystem, below the root."""
    usage = daemon.images.usage()
    filesystem = api.FilesystemUsage(
        timestamp=usage.timestamp_ns,
        fs_id=api.FilesystemIdentifier(mountpoint=usage.mountpoint),
        # Present even when 0: the kubelet does not expect them to be absent.
        used_bytes=api.UInt64Value(value=usage.used_bytes),
        inodes_used=api.UInt64Value(value=usage.inodes_used),
    )
    return api.ImageFsInfoResponse(image_filesystems=[filesystem], container_filesystems=[filesystem])
