"""The daemon's side of the shims: an asyncio client for each, and the launcher that forks them.

    launcher    Launcher: start, fork_shim, close; restarts the process when it died
    shim        Shim: one coroutine per verb; events by callback
    execution   ExecHandle: an exec'ed process until its exit
    connection  requests, answers and events over one socket
    silence     tells a shim that works from one that hangs
    process     the launcher's process

The values that the verbs take and give are the messages of `oci.protocol.messages`.
"""

from __future__ import annotations

from cri.shims.connection import ShimGone, ShimHung
from cri.shims.execution import ExecHandle
from cri.shims.launcher import AdoptState, Launcher
from cri.shims.shim import Shim
from oci.protocol.messages import (
    AdoptContainer,
    AdoptSandbox,
    Attach,
    Checkpoint,
    ContainerCreate,
    ContainerExited,
    ContainerHandles,
    ContainerState,
    ExecExited,
    ExecStart,
    InitExited,
    SandboxNamespaces,
    SandboxSetup,
    ShimEvent,
    ShimState,
)
from oci.protocol.transport import close_descriptors

__all__ = [
    "AdoptContainer",
    "AdoptSandbox",
    "AdoptState",
    "Attach",
    "Checkpoint",
    "ContainerCreate",
    "ContainerExited",
    "ContainerHandles",
    "ContainerState",
    "ExecExited",
    "ExecHandle",
    "ExecStart",
    "InitExited",
    "Launcher",
    "SandboxNamespaces",
    "SandboxSetup",
    "Shim",
    "ShimEvent",
    "ShimGone",
    "ShimHung",
    "ShimState",
    "close_descriptors",
]
