"""Sources of mounts that are not there when a container is made.

The CRI's text wants an error. containerd and CRI-O make a directory, and workloads count on it: those with a hostPath
volume of no type. So that is what happens, unless `runtime.make_missing_sources` is off.

No path of a volume is touched in the daemon before the shim has failed on it: it may lie on a server that is away.
"""

from __future__ import annotations

import asyncio
import errno
import os

from cri.api import runtime_pb2 as api
from cri.errors import InvalidArgument
from oci.errors import ContainerError


class MissingSource(InvalidArgument):
    """The mount's `path` does not exist on the host."""

    def __init__(self, index: int, path: str, problem: str = "") -> None:
        super().__init__(f"config.mounts[{index}].host_path", f"{path} does not exist{problem}")
        self.index = index
        self.path = path


def explain(error: ContainerError, config: api.ContainerConfig) -> Exception:
    """MissingSource where that is what the error says; else the error itself."""
    if error.errno == errno.ENOENT:
        named = [index for index, m in enumerate(config.mounts) if m.host_path and m.host_path in str(error)]
        if named:
            index = max(named, key=lambda i: len(config.mounts[i].host_path))
            return MissingSource(index, config.mounts[index].host_path)
    return error


async def make(missing: MissingSource) -> None:
    """A directory of root's. Raises MissingSource."""
    try:
        await asyncio.to_thread(os.makedirs, missing.path, mode=0o755, exist_ok=True)
    except OSError as error:
        problem = f", and no directory can be made there: {error.strerror}"
        raise MissingSource(missing.index, missing.path, problem) from error
