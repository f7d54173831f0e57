"""The daemon's end of the workers: started when there is work, reused, ended when idle, killed when given up."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from imagesvc.errors import WorkerDied
from imagesvc.worker.messages import LONGEST_LINE, Failed, Job, LayerJob, Progress, Resolution, Written, decode, encode

_IDLE_S = 10.0
_PACKAGES = str(Path(__file__).resolve().parents[2])
_CODE = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from imagesvc.worker.process import main; main()"


class Pool:
    """`layers` is how many layers all pulls together fetch at the same time, `resolves` the same for manifests."""

    def __init__(self, *, layers: int, resolves: int, idle_s: float = _IDLE_S) -> None:
        self._slots = {True: asyncio.Semaphore(layers), False: asyncio.Semaphore(resolves)}
        self._idle_s = idle_s
        self._idle: list[_Worker] = []
        self._busy: set[_Worker] = set()
        self._reaping: set[asyncio.Task[None]] = set()
        self._closed = False

    @property
    def pids(self) -> tuple[int, ...]:
        return tuple(worker.pid for worker in (*self._idle, *self._busy))

    async def run(self, job: Job, on_progress: Callable[[Progress], None]) -> Resolution | Written | Failed:
        """Raises WorkerDied; when this is cancelled, the worker is dead before it returns."""
        async with self._slots[isinstance(job, LayerJob)]:
            while True:
                worker = await self._take()
                try:
                    return await self._run_on(worker, job, on_progress)
                except WorkerDied:
                    if not worker.died_idle:
                        raise

    async def _run_on(
        self, worker: _Worker, job: Job, on_progress: Callable[[Progress], None]
    ) -> Resolution | Written | Failed:
        try:
            report = await worker.run(job, on_progress)
        except BaseException:
            await asyncio.shield(self._end(worker))
            raise
        finally:
            self._busy.discard(worker)
        self._give_back(worker)
        return report

    async def close(self) -> None:
        self._closed = True
        for worker in (*self._idle, *self._busy):
            self._end(worker)
        self._idle.clear()
        await asyncio.gather(*self._reaping)

    async def _take(self) -> _Worker:
        worker = self._idle.pop() if self._idle else await _Worker.start()
        worker.stay()
        self._busy.add(worker)
        return worker

    def _give_back(self, worker: _Worker) -> None:
        if self._closed:
            self._end(worker)
            return
        self._idle.append(worker)
        worker.expiry = asyncio.get_running_loop().call_later(self._idle_s, self._expire, worker)

    def _expire(self, worker: _Worker) -> None:
        self._idle.remove(worker)
        self._end(worker)

    def _end(self, worker: _Worker) -> asyncio.Task[None]:
        """Kills it; the task ends when it is gone."""
        worker.kill()
        task = asyncio.ensure_future(worker.reap())
        self._reaping.add(task)
        task.add_done_callback(self._reaping.discard)
        return task


class _Worker:
    def __init__(
        self, process: subprocess.Popen[bytes], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._process = process
        self._reader = reader
        self._writer = writer
        self.expiry: asyncio.TimerHandle | None = None
        self._served = 0
        self._heard = False

    @property
    def died_idle(self) -> bool:
        """It had died before, while nobody looked: no fault of the job."""
        return self._served > 0 and not self._heard

    @property
    def pid(self) -> int:
        return self._process.pid

    @classmethod
    async def start(cls) -> _Worker:
        """Raises OSError."""
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                process = await asyncio.to_thread(_spawn, theirs)
            except BaseException:
                ours.close()
                raise
        reader, writer = await asyncio.open_connection(sock=ours, limit=LONGEST_LINE)
        return cls(process, reader, writer)

    async def run(self, job: Job, on_progress: Callable[[Progress], None]) -> Resolution | Written | Failed:
        self._heard = False
        try:
            self._writer.write(encode(job))
            await self._writer.drain()
            while line := await self._reader.readline():
                self._heard = True
                report = decode(line)
                if isinstance(report, Progress):
                    on_progress(report)
                elif isinstance(report, Resolution | Written | Failed):
                    self._served += 1
                    return report
        except ConnectionError:
            pass  # as good as the end of the stream
        raise WorkerDied(job.access.reference, "", "the process that fetched it died")

    def stay(self) -> None:
        if self.expiry is not None:
            self.expiry.cancel()
            self.expiry = None

    def kill(self) -> None:
        self.stay()
        self._writer.close()
        if self._process.poll() is None:
            self._process.kill()

    async def reap(self) -> None:
        await asyncio.to_thread(self._process.wait)


def _spawn(connection: socket.socket) -> subprocess.Popen[bytes]:
    # -I and -S: nothing of the user's environment; the daemon's own path says where everything is, but for the current
    # directory, which means something else elsewhere.
    path = [_PACKAGES, *(entry for entry in sys.path if entry and entry != _PACKAGES)]
    command = [sys.executable, "-I", "-S", "-c", _CODE, json.dumps(path)]
    return subprocess.Popen(command, stdin=connection.fileno(), stdout=subprocess.DEVNULL)
