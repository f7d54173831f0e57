"""Whether a bidirectional mount keeps what it promises: that what a container mounts there appears on the host.

It does if its mount is a peer of one of the host's, which it is only when the source lay on a shared mount. That is
read from the mount tables (proc_pid_mountinfo(5)) once the container's mounts are made: no volume's path is touched.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from cri.api import runtime_pb2 as api
from cri.errors import InvalidArgument, Unavailable

_ESCAPE = re.compile(r"\\([0-7]{3})")


def check_propagation(config: api.ContainerConfig, pid: int) -> None:
    """`pid` is in the container's mount namespace. Raises InvalidArgument for the first mount that has no peer."""
    wanted = [
        (index, mount)
        for index, mount in enumerate(config.mounts)
        if mount.propagation == api.PROPAGATION_BIDIRECTIONAL
    ]
    if not wanted:
        return
    try:
        inside = peer_groups(Path(f"/proc/{pid}/mountinfo").read_text(errors="surrogateescape"))
    except (FileNotFoundError, ProcessLookupError):
        raise Unavailable(f"process {pid} of the container died while it was being made") from None
    groups = set(peer_groups(Path("/proc/self/mountinfo").read_text(errors="surrogateescape")).values())
    for index, mount in wanted:
        path = posixpath.normpath("/" + mount.container_path.lstrip("/"))
        # A path that leads over a link of the image has another name in the table: nothing is said of it.
        if path in inside and (not inside[path] or inside[path] not in groups):
            raise InvalidArgument(
                f"config.mounts[{index}].propagation", f"{mount.host_path} is not on a shared mount of the host"
            )


def peer_groups(mountinfo: str) -> dict[str, str]:
    """The peer group of each mount point, "" for a mount that is not shared; of stacked mounts the topmost."""
    groups = {}
    for line in mountinfo.splitlines():
        words = line.split(" ")
        options = words[6 : words.index("-", 6)]
        shared = [option.removeprefix("shared:") for option in options if option.startswith("shared:")]
        point = _ESCAPE.sub(lambda found: chr(int(found[1], 8)), words[4])
        groups[point] = shared[0] if shared else ""
    return groups
