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

_shared: list[Engine] = []


def shared() -> Engine:
    """This process's engine, opened at the first use; a fork goes on with it."""
    if not _shared:
        _shared.append(Engine.open())
    return _shared[0]


def create(request: CreateRequest) -> Created:
    """`Engine.create` of the shared engine."""
    return shared().create(request)


def start(created: Created) -> None:
    """`Engine.start` of the shared engine."""
    shared().start(created)


def exec_process(request: ExecRequest) -> Running:
    """`Engine.exec_process` of the shared engine."""
    return shared().exec_process(request)


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
    "create",
    "exec_process",
    "shared",
    "start",
]
