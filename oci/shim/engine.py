"""What the shim asks of the executor, and how it drives a child without waiting for it.

The shim never waits for a child that sets itself up: a volume on a dead server would hold up the whole pod. It gives
the child's channel to the loop and goes on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from oci.engine import CreateRequest, ExecRequest, Launch, Phase
from oci.shim.loop import Children, Loop


class Engine(Protocol):
    """`oci.engine.Engine` is one. Both fork from this process and return when the child is on its way."""

    def launch_container(self, request: CreateRequest) -> Launch: ...

    def launch_exec(self, request: ExecRequest) -> Launch: ...


Settled = Callable[[Exception | None], None]


class Drive:
    """Advances a launch to `goal` as its child speaks. `settled` gets None, or the error that ended it.

    After an error the child is dead and reaped and the launch's descriptors are closed. Until it has settled, nobody
    else reaps that child.
    """

    def __init__(self, loop: Loop, children: Children, launch: Launch, goal: Phase, settled: Settled) -> None:
        self._loop = loop
        self._children = children
        self._launch = launch
        self._goal = goal
        self._settled = settled
        self._fd = launch.fileno()
        self._pid = launch.pid
        children.reserve(self._pid)
        loop.add(self._fd, self._ready)

    def _ready(self, _: int) -> None:
        # Out of the loop first: `advance` may close the descriptor.
        self._loop.remove(self._fd)
        error: Exception | None = None
        try:
            if self._launch.advance() is not self._goal:
                self._loop.add(self._fd, self._ready)
                return
        except Exception as caught:
            error = caught
        self._children.release(self._pid)
        self._settled(error)
