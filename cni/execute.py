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
_CHUNK: Final = 1 << 16


class _TooMuch(Exception):
    pass


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
    try:
        process = await asyncio.create_subprocess_exec(
            path,
            env={**inherited, **invocation.environment},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:
        raise PluginFailed(plugin, verb, f"{path}: {error.strerror}") from error
    try:
        async with asyncio.timeout(timeout_seconds):
            stdout, stderr = await _converse(process, invocation.stdin)
    except TimeoutError:
        raise PluginFailed(plugin, verb, f"no answer within {timeout_seconds:g} s") from None
    except _TooMuch:
        raise PluginFailed(plugin, verb, f"more than {_STDOUT_BYTES} bytes of output") from None
    finally:
        if not _has_ended(process):
            await _end(process)
    if process.returncode != 0:
        raise _failure(plugin, verb, process.returncode or 0, stdout, stderr)
    return stdout


async def _converse(process: asyncio.subprocess.Process, stdin: bytes) -> tuple[bytes, bytes]:
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    reading = asyncio.gather(_read_all(process.stdout), _read_some(process.stderr))
    try:
        process.stdin.write(stdin)
        await process.stdin.drain()
        process.stdin.close()
    except (BrokenPipeError, ConnectionResetError):
        pass  # it ended without reading its configuration; its answer says why
    try:
        stdout, stderr = await reading
        await process.wait()
    finally:
        reading.cancel()
    return stdout, stderr


async def _read_all(stream: asyncio.StreamReader) -> bytes:
    output = bytearray()
    while chunk := await stream.read(_CHUNK):
        output += chunk
        if len(output) > _STDOUT_BYTES:
            raise _TooMuch
    return bytes(output)


async def _read_some(stream: asyncio.StreamReader) -> bytes:
    """The beginning; the rest is read and forgotten, so that the plugin never blocks on it."""
    output = bytearray()
    while chunk := await stream.read(_CHUNK):
        output += chunk[: _STDERR_BYTES - len(output)]
    return bytes(output)


def _has_ended(process: asyncio.subprocess.Process) -> bool:
    """Ended with all its output read: not so when children of it still hold the pipes at the deadline."""
    return process.returncode is not None and process.stdout is not None and process.stdout.at_eof()


async def _end(process: asyncio.subprocess.Process) -> None:
    """Kill what is left of the plugin's session, and reap it."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass  # it ended by itself just now
    await asyncio.shield(process.wait())


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
