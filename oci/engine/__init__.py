"""The executor as a library: `Engine.create`, `Engine.start`, `Engine.exec_process`. Owns the parent's side.

    engine.py    the entry; clones, serves, releases         launch.py   one child on its way, as a state machine
    requests.py  what callers give and get                   channel.py  messages between parent and child
    host.py      facts about this host, private procfs       userns.py   id mappings      attach.py  late cgroups
    hooks.py     hooks                                       listener.py seccomp agents

The caller owns: the container's state on disk, its cgroup, reaping after `start`, poststart and poststop hooks.
"""

from __future__ import annotations

from oci.engine.engine import Engine
from oci.engine.launch import Launch, Phase
from oci.engine.requests import Attach, CgroupHandle, Created, CreateRequest, ExecRequest, Running, Stdio

__all__ = [
    "Attach",
    "CgroupHandle",
    "CreateRequest",
    "Created",
    "Engine",
    "ExecRequest",
    "Launch",
    "Phase",
    "Running",
    "Stdio",
]
