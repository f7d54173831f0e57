from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest

from cri.api import runtime_pb2 as api
from cri.daemon import Daemon
from cri.state.machine import ContainerState
from imagesvc.service import FilesystemUsage, Usage
from oci.cgroups.usage import MemoryUsage
from oci.cgroups.usage import Usage as CgroupUsage
from oci.errors import CgroupError
from tests.unit.cri_daemon import FakeCgroups, FakeImages, add_container, add_pod, make_daemon, until

SECOND = 1_000_000_000


class Reader:
    """Of a cgroup that says `sample`, or that has gone."""

    descriptors = 3

    def __init__(self, sample: CgroupUsage | None) -> None:
        self.sample = sample
        self.closed = False

    def read(self) -> CgroupUsage:
        if self.sample is None:
            raise CgroupError("/a", "no such device", errno=19)
        return self.sample

    def close(self) -> None:
        assert not self.closed
        self.closed = True


def sample(cpu_ns: int | None = None, memory: MemoryUsage | None = None) -> CgroupUsage:
    return CgroupUsage(SECOND, cpu_ns, memory)


def parsed(found: list[bytes]) -> list[api.ContainerStats]:
    return [api.ContainerStats.FromString(each) for each in found]


class Images(FakeImages):
    """Its layers are measured one at a time, or the test fails."""

    measuring = 0
    most = 0
    failure: OSError | None = None

    def usage(self) -> FilesystemUsage:
        return FilesystemUsage(mountpoint="/layers", used_bytes=0, inodes_used=0, timestamp_ns=1)

    async def container_usage(self, directory: Path) -> Usage:
        self.measuring += 1
        self.most = max(self.most, self.measuring)
        await asyncio.sleep(0)
        self.measuring -= 1
        if self.failure:
            raise self.failure
        return Usage(used_bytes=4096, inodes_used=3)


@pytest.fixture
async def daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Daemon]:
    made = make_daemon(tmp_path)
    cast(Any, made).images = Images(tmp_path)
    monkeypatch.setattr(FakeCgroups, "usage_reader", lambda self, path, pids: Reader(sample()), raising=False)
    yield made
    await made.reconciler.close()


async def test_a_rate_is_between_two_samples_and_not_from_a_moment_between_them(daemon: Daemon) -> None:
    rate = daemon.statistics.rate
    assert rate("c", 10 * SECOND, 5 * SECOND) == 0
    assert rate("c", 12 * SECOND, 6 * SECOND) == SECOND // 2
    assert rate("c", 12 * SECOND + 50_000_000, 7 * SECOND) == SECOND // 2
    assert rate("c", 14 * SECOND, 6 * SECOND) == 0
    assert rate("c", 15 * SECOND, 1 * SECOND) == 0, "a counter that went back is no negative rate"


async def test_a_forgotten_container_has_no_rate(daemon: Daemon) -> None:
    daemon.statistics.rate("c", SECOND, SECOND)
    daemon.statistics.forget("c")
    assert daemon.statistics.rate("c", 2 * SECOND, 3 * SECOND) == 0


async def test_only_what_runs_has_figures(daemon: Daemon) -> None:
    _, shim = add_pod(daemon)
    running, ended = add_container(daemon, shim), add_container(daemon, shim, ContainerState.EXITED)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FakeCgroups, "usage_reader", lambda self, path, pids: Reader(sample(5)))
        first, second = parsed(await daemon.statistics.of([running, ended]))
    assert (first.cpu.usage_core_nano_seconds.value, first.attributes.id) == (5, running.id)
    assert not second.HasField("cpu")


async def test_a_cgroup_that_went_away_meanwhile_is_no_error(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = Reader(None)
    monkeypatch.setattr(FakeCgroups, "usage_reader", lambda self, path, pids: reader)
    _, shim = add_pod(daemon)
    (stats,) = parsed(await daemon.statistics.of([add_container(daemon, shim)]))
    assert not stats.HasField("cpu")
    assert reader.closed


async def test_samples_with_different_parts_do_not_leak_into_each_other(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, shim = add_pod(daemon)
    records = [add_container(daemon, shim) for _ in range(4)]
    memory = MemoryUsage(9, 8, 7, 6, 5, None, None, None)
    samples = [sample(1, memory), sample(2), sample(None, memory), None]
    figures = iter(map(Reader, samples))
    monkeypatch.setattr(FakeCgroups, "usage_reader", lambda self, path, pids: next(figures))
    found = parsed(await daemon.statistics.of(records))
    assert [each.HasField("cpu") for each in found] == [True, True, False, False]
    assert [each.memory.rss_bytes.value for each in found] == [7, 0, 7, 0]
    assert [each.HasField("memory") for each in found] == [True, False, True, False]


async def test_of_a_container_removed_meanwhile_nothing_is_said_or_kept(daemon: Daemon) -> None:
    _, shim = add_pod(daemon)
    record = add_container(daemon, shim)
    asked = asyncio.ensure_future(daemon.statistics.of([record]))
    await asyncio.sleep(0)
    daemon.containers.drop(record.id)
    assert await asked == []


async def test_layers_are_measured_one_after_the_other_in_the_background(daemon: Daemon) -> None:
    _, shim = add_pod(daemon)
    records = [add_container(daemon, shim) for _ in range(5)]
    before = parsed(await daemon.statistics.of(records))
    assert {stats.writable_layer.used_bytes.value for stats in before} == {0}
    await until(lambda: all(daemon.statistics.layer(record).measured for record in records))
    after = parsed(await daemon.statistics.of(records))
    assert {stats.writable_layer.used_bytes.value for stats in after} == {4096}
    assert cast(Images, daemon.images).most == 1


async def test_a_layer_that_cannot_be_measured_is_logged(daemon: Daemon, caplog: pytest.LogCaptureFixture) -> None:
    _, shim = add_pod(daemon)
    record = add_container(daemon, shim)
    cast(Images, daemon.images).failure = OSError(5, "Input/output error")
    await daemon.statistics.of([record])
    await until(lambda: daemon.statistics.layer(record).measured)
    assert "was not measured" in caplog.text
