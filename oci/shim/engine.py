"""What the shim's workers ask of the executor; `oci.engine.Engine` is one, the tests without root have another."""

from __future__ import annotations

from typing import Protocol

from oci.engine import CreateRequest, ExecRequest, Launch


class Engine(Protocol):
    """Both fork from the calling process and return when the child is on its way."""

    def launch_container(self, request: CreateRequest) -> Launch: ...

    def launch_exec(self, request: ExecRequest) -> Launch: ...
