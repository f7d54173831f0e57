"""What the shim asks of the executor, so that its own tests need no container."""

from __future__ import annotations

from typing import Protocol

from oci.engine.requests import Created, CreateRequest, ExecRequest, Running


class Engine(Protocol):
    """The module `oci.engine` is one. All three fork from this process and return when the child is where they say."""

    def create(self, request: CreateRequest) -> Created: ...

    def start(self, created: Created) -> None: ...

    def exec_process(self, request: ExecRequest) -> Running: ...
