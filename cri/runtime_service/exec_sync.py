"""ExecSync: a command in a running container, its output and its exit code.

The daemon makes the pipes and reads them itself; the shim only starts the process. Output stops being kept, not read,
at the limit, so that a command that talks too much neither stalls nor fills the daemon.
"""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Self

from cri.api import runtime_pb2 as api
from cri.errors import DeadlineExceeded, FailedPrecondition, InvalidArgument
from cri.exec_process import exec_process
from cri.specgen.validate import check_command
from cri.state.machine import ContainerState
from cri.state.records import ContainerRecord
from cri.user_namespaces import give
from oci import syscalls
from oci.protocol.messages import ExecStart
from oci.signals import send_signal

if TYPE_CHECKING:
    from cri.daemon import Daemon
    from cri.rpc import Call

#: The CRI allows 16 MiB a stream, but its clients receive 16 MiB a message: both streams together stay below that.
OUTPUT_LIMIT = 8 * 1024 * 1024 - 64 * 1024
_READ_BYTES = 64 * 1024
#: How long output may still come after the command has ended: its children may hold the pipe for ever.
_DRAIN_S = 0.25


async def exec_sync(daemon: Daemon, request: api.ExecSyncRequest, call: Call) -> api.ExecSyncResponse:
    check_command("cmd", request.cmd)
    if request.timeout < 0:
        raise InvalidArgument("timeout", f"{request.timeout} s is negative")
    record = daemon.containers.need(request.container_id)
    if record.state is not ContainerState.RUNNING:
        raise FailedPrecondition(f"container {record.id} is {record.state}, not running")
    with ExitStack() as opened:
        stdout, stderr = opened.enter_context(_Output()), opened.enter_context(_Output())
        try:
            async with asyncio.timeout(request.timeout or None):
                code = await _run(daemon, record, request, stdout, stderr)
        except TimeoutError:
            raise DeadlineExceeded(
                f"command {request.cmd[0]!r} in container {record.id} ran longer than {request.timeout} s"
            ) from None
        # A child of the command may keep the pipe open: what came until then is the output.
        with suppress(TimeoutError):
            async with asyncio.timeout(_DRAIN_S):
                await stdout.ended.wait()
                await stderr.ended.wait()
        return api.ExecSyncResponse(stdout=bytes(stdout.kept), stderr=bytes(stderr.kept), exit_code=code)


async def _run(
    daemon: Daemon, record: ContainerRecord, request: api.ExecSyncRequest, stdout: _Output, stderr: _Output
) -> int:
    """The exit code. A command that outlives its timeout, or its caller, is killed."""
    with syscalls.closing(stdout.write_fd, stderr.write_fd):
        give((stdout.write_fd, stderr.write_fd), daemon.sandboxes.need(record.sandbox_id).namespaces)
        shim = await daemon.shim_of(record.sandbox_id)
        process = await shim.exec(
            ExecStart(
                container_id=record.id,
                exec_id=daemon.new_id(),
                process=exec_process(daemon, record, tuple(request.cmd)),
                stdout_fd=stdout.write_fd,
                stderr_fd=stderr.write_fd,
            )
        )
    try:
        return await process.wait()
    except asyncio.CancelledError:
        send_signal(process.pidfd, signal.SIGKILL)
        raise
    finally:
        process.close()


class _Output:
    """One pipe, read as it fills."""

    def __init__(self) -> None:
        self.read_fd, self.write_fd = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self.read_fd, False)
        self.kept = bytearray()
        self.ended = asyncio.Event()
        asyncio.get_running_loop().add_reader(self.read_fd, self._read)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if not self.ended.is_set():
            self._finish()
        os.close(self.read_fd)

    def _read(self) -> None:
        try:
            data = os.read(self.read_fd, _READ_BYTES)
        except BlockingIOError:
            return
        if data:
            self.kept += data[: OUTPUT_LIMIT - len(self.kept)]
        else:
            self._finish()

    def _finish(self) -> None:
        asyncio.get_running_loop().remove_reader(self.read_fd)
        self.ended.set()
