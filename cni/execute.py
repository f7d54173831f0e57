"""Run one plugin binary (CNI 1.1, section 2). Owns its process from start to end; knows nothing of chains.

The plugin runs in a session of its own, so that a deadline takes its children too. Its output is bounded: a plugin that
talks without end is stopped like one that hangs.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from cni.chain import Invocation
from cni.errors import PluginError, PluginFailed

_STDOUT_BYTES: Final = 4 << 20
_STDERR_BYTES: Final = 64 << 10
_SHOWN_CHARACTERS: Final = 500
_STDERR: Final = 2
_REAP_SECONDS: Final = 2.0  # a killed process ends at once, unless the kernel holds it in a system call


def find_plugin(name: str, bin_dirs: Sequence[str]) -> str | None:
    """The first executable file of that name."""
    for directory in bin_dirs:
        path = Path(directory) / name
        if path.is_file() and os.access(path, os.X_OK):
            return str(path)
    return None


async def execute(
    invocation: Invocation, bin_dirs: Sequence[str], environment: Mapping[str, str], timeout_seconds: float
) -> bytes:
    """The plugin's standard output. Raises `PluginError` with its own words, or `PluginFailed`."""
    plugin, verb = invocation.plugin, invocation.verb.value
    path = find_plugin(plugin, bin_dirs)
    if path is None:
        raise PluginFailed(plugin, verb, f"no such plugin in {', '.join(bin_dirs)}")
    inherited = {key: value for key, value in environment.items() if not key.startswith(("CNI_", "NOTIFY_"))}
    conversation = _Conversation(asyncio.get_running_loop())
    try:
        transport, _ = await asyncio.get_running_loop().subprocess_exec(
            lambda: conversation, path, env={**inherited, **invocation.environment}, start_new_session=True
        )
    except OSError as error:
        raise PluginFailed(plugin, verb, f"{path}: {error.strerror}") from error
    try:
        async with asyncio.timeout(timeout_seconds):
            _say(transport, invocation.stdin)
            await asyncio.shield(conversation.ended)
    except TimeoutError:
        raise PluginFailed(plugin, verb, f"no answer within {timeout_seconds:g} s") from None
    finally:
        if not conversation.ended.done() or conversation.overflow:
            await _kill(transport, conversation)
        transport.close()
    if conversation.overflow:
        raise PluginFailed(plugin, verb, f"more than {_STDOUT_BYTES} bytes of output")
    status = transport.get_returncode()
    if status != 0:
        raise _failure(plugin, verb, status or 0, bytes(conversation.stdout), bytes(conversation.stderr))
    return bytes(conversation.stdout)


class _Conversation(asyncio.SubprocessProtocol):
    """Collects what the plugin says. `ended`: its pipes are closed and it is reaped, or it says too much."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.stdout = bytearray()
        self.stderr = bytearray()
        self.overflow = False
        self.ended: asyncio.Future[None] = loop.create_future()
        self.reaped: asyncio.Future[None] = loop.create_future()

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        if fd == _STDERR:  # the beginning; the rest is read and forgotten, so that the plugin never blocks on it
            self.stderr += data[: _STDERR_BYTES - len(self.stderr)]
            return
        self.overflow = self.overflow or len(self.stdout) + len(data) > _STDOUT_BYTES
        if not self.overflow:
            self.stdout += data
        elif not self.ended.done():
            self.ended.set_result(None)

    def process_exited(self) -> None:
        self.reaped.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_result(None)


def _say(transport: asyncio.SubprocessTransport, words: bytes) -> None:
    """A plugin that ends without listening closes the pipe; its answer says why."""
    pipe = transport.get_pipe_transport(0)
    assert isinstance(pipe, asyncio.WriteTransport)
    pipe.write(words)
    pipe.close()


async def _kill(transport: asyncio.SubprocessTransport, conversation: _Conversation) -> None:
    """End the plugin's session: itself, and children that hold its pipes although it has ended."""
    try:
        os.killpg(transport.get_pid(), signal.SIGKILL)
    except ProcessLookupError:
        pass  # it ended by itself just now
    transport.close()  # children elsewhere may hold the pipes still
    await asyncio.wait([conversation.reaped], timeout=_REAP_SECONDS)


def _failure(plugin: str, verb: str, status: int, stdout: bytes, stderr: bytes) -> PluginError | PluginFailed:
    """The error the plugin printed (section 5, Error), or what can be told without one."""
    try:
        document = json.loads(stdout)
    except ValueError:
        document = None
    if isinstance(document, dict) and isinstance(document.get("msg"), str):
        code, details = document.get("code"), document.get("details")
        return PluginError(
            plugin,
            verb,
            code if isinstance(code, int) else 0,
            document["msg"],
            details if isinstance(details, str) else "",
        )
    said = (stderr.strip() or stdout.strip()).decode(errors="replace")[-_SHOWN_CHARACTERS:]
    ended = f"killed by signal {-status}" if status < 0 else f"exit status {status}"
    return PluginFailed(plugin, verb, f"{ended}: {said}" if said else ended)
