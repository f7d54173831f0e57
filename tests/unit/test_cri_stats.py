from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest

from cri.daemon import Daemon
from cri.state.machine import ContainerState
from imagesvc.service import FilesystemUsage, Usage
from oci.cgroups.stats import Usage as CgroupUsage
from oci.errors import CgroupError
from tests.unit.cri_daemon import FakeCgroups, FakeImages, add_container, add_pod, make_daemon, until

SECOND = 1_000_000_000


def sample(cpu_ns: int | None = None) -> CgroupUsage:
    return CgroupUsage(timestamp_ns=SECOND, cpu_ns=cpu_ns, memory=None)


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
    monkeypatch.setattr(FakeCgroups, "usage", lambda self, path: sample(), raising=False)
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
        patch.setattr(FakeCgroups, "usage", lambda self, path: sample(5))
        first, second = await daemon.statistics.of([running, ended])
    assert (first.cpu.usage_core_nano_seconds.value, first.attributes.id) == (5, running.id)
    assert not second.HasField("cpu")


async def test_a_cgroup_that_went_away_meanwhile_is_no_error(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(self: FakeCgroups, path: str) -> CgroupUsage:
        raise CgroupError(path, "no such file", errno=2)

    monkeypatch.setattr(FakeCgroups, "usage", gone)
    _, shim = add_pod(daemon)
    (stats,) = await daemon.statistics.of([add_container(daemon, shim)])
    assert not stats.HasField("cpu")


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
    before = await daemon.statistics.of(records)
    assert {stats.writable_layer.used_bytes.value for stats in before} == {0}
    await until(lambda: all(daemon.statistics.layer(record).measured for record in records))
    after = await daemon.statistics.of(records)
    assert {stats.writable_layer.used_bytes.value for stats in after} == {4096}
    assert cast(Images, daemon.images).most == 1


async def test_a_layer_that_cannot_be_measured_is_logged(daemon: Daemon, caplog: pytest.LogCaptureFixture) -> None:
    _, shim = add_pod(daemon)
    record = add_container(daemon, shim)
    cast(Images, daemon.images).failure = OSError(5, "Input/output error")
    await daemon.statistics.of([record])
    await until(lambda: daemon.statistics.layer(record).measured)
    assert "was not measured" in caplog.text
