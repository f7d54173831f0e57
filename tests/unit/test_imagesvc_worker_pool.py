"""The pool with real worker processes: reused, ended when idle, replaced when dead, killed when given up."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator, Iterator

import pytest

from imagesvc import errors
from imagesvc.worker.messages import Access, Failed, Progress, ResolveJob
from imagesvc.worker.pool import Pool


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A registry that accepts and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as made:
        yield made


@pytest.fixture
async def pool() -> AsyncIterator[Pool]:
    made = Pool(layers=1, resolves=2)
    yield made
    pids = made.pids
    await made.close()
    assert not any(alive(pid) for pid in pids)


def alive(pid: int) -> bool:
    return os.path.exists(f"/proc/{pid}")


def job(address: str) -> ResolveJob:
    access = Access(
        reference=f"{address}/a:1",
        credentials=None,
        registry_config_path="",
        docker_config_paths=(),
        progress_timeout=30,
    )
    return ResolveJob(access=access)


def ignore(_: Progress) -> None: ...


REFUSING = "127.0.0.1:1"


async def test_a_worker_is_reused(pool: Pool) -> None:
    reports = [await pool.run(job("nowhere.invalid"), ignore) for _ in range(2)]
    assert all(isinstance(report, Failed) and report.kind == "RegistryUnavailable" for report in reports)
    assert len(pool.pids) == 1


async def test_idle_workers_end() -> None:
    pool = Pool(layers=1, resolves=1, idle_s=0)
    await pool.run(job("nowhere.invalid"), ignore)
    (pid,) = pool.pids
    for _ in range(100):
        await asyncio.sleep(0)
    assert pool.pids == ()
    await pool.close()
    assert not alive(pid)


async def test_a_worker_that_died_idle_is_replaced_in_silence(pool: Pool) -> None:
    await pool.run(job("nowhere.invalid"), ignore)
    (pid,) = pool.pids
    os.kill(pid, signal.SIGKILL)
    assert isinstance(await pool.run(job("nowhere.invalid"), ignore), Failed)
    assert pool.pids != (pid,)


async def test_a_worker_that_dies_at_work_fails_its_job(pool: Pool, listener: socket.socket) -> None:
    address = f"127.0.0.1:{listener.getsockname()[1]}"
    running = asyncio.ensure_future(pool.run(job(address), ignore))
    connection, _ = await asyncio.to_thread(listener.accept)
    with connection:
        (pid,) = pool.pids
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(errors.WorkerDied, match=f"cannot pull {address}/a:1"):
            await running
    assert not alive(pid)
    assert pool.pids == ()


async def test_a_job_that_is_given_up_takes_its_worker_with_it(pool: Pool, listener: socket.socket) -> None:
    running = asyncio.ensure_future(pool.run(job(f"127.0.0.1:{listener.getsockname()[1]}"), ignore))
    connection, _ = await asyncio.to_thread(listener.accept)
    with connection:
        (pid,) = pool.pids
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert not alive(pid)
        connection.settimeout(5)
        while connection.recv(4096):
            pass  # what it had said before
