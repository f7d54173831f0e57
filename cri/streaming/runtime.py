"""What the streaming server asks of the rest of Coracle. `daemon_runtime` answers; in tests, local processes do."""

from __future__ import annotations

import socket
from typing import Protocol

from cri.streaming.remote_command import TerminalSize
from cri.streaming.tickets import AttachTicket, ExecTicket
from oci.values import frozen


@frozen
class Stdio:
    """The process's ends of its streams; None is /dev/null. They stay the caller's."""

    stdin: int | None = None
    stdout: int | None = None
    stderr: int | None = None


class Process(Protocol):
    """An exec'ed process. `console_fd`, the master of its terminal, is closed by `close`, like all that it holds."""

    console_fd: int | None

    async def wait(self) -> int:
        """The exit code."""

    def close(self) -> None: ...


class Attachment(Protocol):
    """A way to the standard input of a running container; its output comes through the pipes given to `attach`.

    `stdin_fd` is the pipe, or the terminal's master where `is_terminal`; None when the container reads nothing.
    `stdin_once`: the input ends with the first client that was attached to it.
    """

    stdin_fd: int | None
    is_terminal: bool
    stdin_once: bool

    async def exited(self) -> None:
        """Returns when the container has ended."""

    async def close_stdin(self) -> None:
        """The container's input ends, for good."""

    def close(self) -> None: ...


class Runtime(Protocol):
    """Errors of all kinds are shown to the client as `cri.errors.status_of` words them."""

    async def exec(self, ticket: ExecTicket, stdio: Stdio, size: TerminalSize | None) -> Process: ...

    async def attach(self, ticket: AttachTicket, stdio: Stdio) -> Attachment:
        """What the container writes from now on is copied to `stdio`, whose descriptors stay the caller's."""

    async def connect(self, sandbox_id: str, port: int) -> socket.socket:
        """A connection to `port` at the pod's localhost, IPv4 or IPv6."""
