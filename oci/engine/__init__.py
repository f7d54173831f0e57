"""The executor as a library: `Engine.create`, `Engine.start`, `Engine.exec_process`. Owns the parent's side.

    engine.py      the entry                             requests.py   what callers give and get
    container.py   create request -> child               process.py    exec request -> child
    equipment.py   what is kept between containers       host.py       facts about this host, private procfs
    namespaces.py  joined ones                           userns.py     id mappings
    attach.py      ways into a cgroup                    outside.py    what only the parent may set
    hooks.py       hooks                                 filters.py, listener.py    seccomp

The caller owns: the container's state on disk, its cgroup, reaping after `start`, poststart and poststop hooks.
"""

from __future__ import annotations

from oci.engine.engine import Engine
from oci.engine.requests import Attach, CgroupHandle, Created, CreateRequest, ExecRequest, Running, Stdio
from oci.handshake.launch import Launch, Phase

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
    Engine.start(created)


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
