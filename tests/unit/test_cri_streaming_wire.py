"""How a connection ends when the client is faster."""

from __future__ import annotations

import asyncio
import errno

from cri.streaming.wire import Wire


class _Nobody:
    def received(self, data: bytes) -> None: ...
    def slow(self) -> None: ...
    def quick(self) -> None: ...
    def broken(self) -> None: ...
    def gone(self) -> None: ...


class _ResetTransport(asyncio.Transport):
    """Of a connection that the client has reset a moment ago; the loop has not noticed yet."""

    aborted = False

    def resume_reading(self) -> None: ...

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        raise OSError(errno.ENOTCONN, "Transport endpoint is not connected")

    def abort(self) -> None:
        self.aborted = True


async def test_a_client_that_is_gone_already_is_no_failure() -> None:
    wire = Wire(_Nobody(), idle_timeout=60, on_closed=lambda wire: None)
    transport = _ResetTransport()
    wire._transport = transport
    wire.finish()
    assert transport.aborted
