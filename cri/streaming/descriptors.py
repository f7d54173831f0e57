"""Pumps between a client's channel and a descriptor of a process: pipe, terminal or socket. They own no descriptor.

Descriptors are non-blocking. Bytes are moved as soon as they come, in the callback that brings them: between a key
stroke and its echo lie two turns of the event loop and no task switch.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Final

from cri.streaming.flow import Channel

_CHUNK: Final = 64 << 10
#: A sink that holds more than this pauses its client, until it holds less than half.
_SINK_HIGH: Final = 64 << 10


class DescriptorSource:
    """Reads `fd` until its end and writes to `channel`; without one it throws the bytes away.

    `ended` is set at the end of the file. A terminal ends with EIO, a socket also with a reset; that is no error here.
    """

    def __init__(self, fd: int, channel: Channel | None) -> None:
        self.ended = asyncio.Event()
        self.was_paused = False
        self._fd = fd
        self._channel = channel
        self._loop = asyncio.get_running_loop()
        self._moved = False
        self._paused = False
        self._reading = True
        self._loop.add_reader(fd, self._readable)
        if channel is not None:
            channel.sources.add(self)

    def pause(self) -> None:
        if self._reading and not self._paused:
            self._paused = self.was_paused = True
            self._loop.remove_reader(self._fd)

    def resume(self) -> None:
        if self._reading and self._paused:
            self._paused = False
            self._loop.add_reader(self._fd, self._readable)

    def stop(self) -> None:
        """Read no more; the descriptor may be closed now."""
        if self._reading:
            self._reading = False
            self._loop.remove_reader(self._fd)
            if self._channel is not None:
                self._channel.sources.discard(self)

    async def drained(self, quiet: float) -> None:
        """Wait for the end; or, where others may hold the far end open, until nothing has come for `quiet` seconds."""
        while not self.ended.is_set():
            self._moved = False
            try:
                async with asyncio.timeout(quiet):
                    await self.ended.wait()
            except TimeoutError:
                if not self._moved and not self._paused:
                    return

    def _readable(self) -> None:
        try:
            data = os.read(self._fd, _CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self._moved = True
            if self._channel is not None:
                self._channel.write(data)
        else:
            self.stop()
            self.ended.set()


class DescriptorSink:
    """Writes what `channel` receives to `fd`. `on_end` is called once all of it is written, or cannot be any more."""

    def __init__(self, fd: int, channel: Channel, on_end: Callable[[], None]) -> None:
        self._fd = fd
        self._channel = channel
        self._on_end = on_end
        self._loop = asyncio.get_running_loop()
        self._waiting = bytearray()
        self._writing = False
        self._paused = False
        self._ending = False
        self._stopped = False
        channel.receive_with(self)

    def stop(self) -> None:
        """Write no more; the descriptor may be closed now. What still comes is thrown away."""
        self._stopped = True
        self._waiting.clear()
        self._wait_for_room(False)
        self._pause_client(False)

    # --- flow.Receiver

    def data(self, data: bytes) -> None:
        if self._stopped:
            return
        if not self._waiting:
            written = self._write(data)
            if written == len(data) or self._stopped:
                return
            data = data[written:]
            self._wait_for_room(True)
        self._waiting += data
        if len(self._waiting) > _SINK_HIGH:
            self._pause_client(True)

    def end(self) -> None:
        self._ending = True
        if not self._waiting and not self._stopped:
            self._finish()

    def reset(self) -> None:
        if not self._stopped:
            self._finish()

    # ---

    def _writable(self) -> None:
        written = self._write(bytes(self._waiting[:_CHUNK]))
        if self._stopped:
            return
        del self._waiting[:written]
        if len(self._waiting) < _SINK_HIGH // 2:
            self._pause_client(False)
        if not self._waiting:
            self._wait_for_room(False)
            if self._ending:
                self._finish()

    def _write(self, data: bytes) -> int:
        try:
            return os.write(self._fd, data)
        except BlockingIOError:
            return 0
        except OSError:  # the reader closed its end: the process has had enough
            self._finish()
            return 0

    def _finish(self) -> None:
        self.stop()
        self._on_end()

    def _wait_for_room(self, wait: bool) -> None:
        if wait != self._writing:
            self._writing = wait
            if wait:
                self._loop.add_writer(self._fd, self._writable)
            else:
                self._loop.remove_writer(self._fd)

    def _pause_client(self, pause: bool) -> None:
        if pause != self._paused:
            self._paused = pause
            if pause:
                self._channel.pause()
            else:
                self._channel.resume()
