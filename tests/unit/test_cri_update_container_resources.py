from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from cri.api import runtime_pb2 as api
from cri.daemon import Daemon
from cri.errors import FailedPrecondition, Unavailable
from cri.runtime_service.update_container_resources import update_container_resources, with_swap
from oci.errors import CgroupError
from oci.spec import Resources
from tests.unit.cri_daemon import CALL, FakeCgroups, add_container, add_pod, make_daemon


def resources(memory: int = 0, swap: int = 0) -> api.LinuxContainerResources:
    return api.LinuxContainerResources(memory_limit_in_bytes=memory, memory_swap_limit_in_bytes=swap)


@pytest.mark.parametrize(
    ("current", "update", "swap"),
    [
        ((64, 64), (128, 0), 128),  # no swap stays no swap
        ((64, 64), (32, 0), 32),
        ((64, 100), (80, 0), 100),
        ((64, 100), (128, 0), 128),  # never less than the memory
        ((64, -1), (128, 0), -1),
        ((64, 0), (128, 0), 0),  # none in force: none is made
        ((64, 64), (0, 0), 0),
        ((64, 64), (32, 40), 40),  # said is said
    ],
)
def test_a_swap_limit_follows_the_memory_limit(current: tuple[int, int], update: tuple[int, int], swap: int) -> None:
    asked = resources(*update)
    assert with_swap(resources(*current), asked) == resources(update[0], swap)
    assert asked == resources(*update)


class Cgroup:
    """Carries updates out, slowly and one at a time, or the test fails."""

    def __init__(self) -> None:
        self.limits: list[int | None] = []
        self.failure: CgroupError | None = None
        self.meanwhile: Callable[[], None] = lambda: None
        self._busy = threading.Lock()

    def update(self, resources: Resources) -> None:
        assert self._busy.acquire(blocking=False)
        try:
            threading.Event().wait(0.001)
            self.meanwhile()
            if self.failure:
                raise self.failure
            assert resources.memory is not None
            self.limits.append(resources.memory.limit)
        finally:
            self._busy.release()


@pytest.fixture
def cgroup(monkeypatch: pytest.MonkeyPatch) -> Cgroup:
    made = Cgroup()
    monkeypatch.setattr(FakeCgroups, "open", lambda self, path: made)
    return made


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Daemon]:
    made = make_daemon(tmp_path)
    yield made
    await made.reconciler.close()


def update(container_id: str, memory: int) -> api.UpdateContainerResourcesRequest:
    return api.UpdateContainerResourcesRequest(container_id=container_id, linux=resources(memory << 20))


async def test_updates_of_one_container_are_carried_out_one_after_the_other(daemon: Daemon, cgroup: Cgroup) -> None:
    _, shim = add_pod(daemon)
    record = add_container(daemon, shim)
    asked = [update_container_resources(daemon, update(record.id, size), CALL) for size in range(64, 72)]
    await asyncio.gather(*asked)
    assert cgroup.limits == [size << 20 for size in range(64, 72)]
    assert daemon.containers.need(record.id).resources.memory_limit_in_bytes == 71 << 20


async def test_a_container_that_ended_meanwhile_has_nothing_to_update(daemon: Daemon, cgroup: Cgroup) -> None:
    _, shim = add_pod(daemon)
    record = add_container(daemon, shim)
    loop = asyncio.get_running_loop()
    cgroup.failure = CgroupError("/a", "does not exist", 2)

    def end() -> None:
        done = threading.Event()
        loop.call_soon_threadsafe(shim.exit, record.id)
        loop.call_soon_threadsafe(done.set)
        done.wait()

    cgroup.meanwhile = end
    with pytest.raises(FailedPrecondition, match="is exited"):
        await update_container_resources(daemon, update(record.id, 64), CALL)


async def test_one_that_is_not_held_yet_can_be_asked_again(daemon: Daemon) -> None:
    _, shim = add_pod(daemon)
    record = add_container(daemon, shim)
    daemon.forget_container(record.id)
    with pytest.raises(Unavailable, match="try again"):
        await update_container_resources(daemon, update(record.id, 64), CALL)
