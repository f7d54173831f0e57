"""cri.watchdog and cri.health: who is told what, and when."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any, cast

import pytest

from cri import health
from cri.shims import ShimGone
from cri.watchdog import interval, watch
from tests.unit.cri_daemon import make_daemon


def test_half_of_what_systemd_waits() -> None:
    assert interval({"WATCHDOG_USEC": "60000000"}) == 30
    assert interval({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": str(os.getpid())}) == 30
    assert interval({"WATCHDOG_USEC": "1000"}) == 1


@pytest.mark.parametrize(
    "environment",
    [{}, {"WATCHDOG_USEC": "x"}, {"WATCHDOG_USEC": "0"}, {"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "1"}],
)
def test_when_systemd_does_not_wait_for_us(environment: dict[str, str]) -> None:
    assert interval(environment) is None


async def test_systemd_hears_good_news_only() -> None:
    answers = iter(["", "the disk is full", ""])
    told: list[str] = []
    done = asyncio.Event()

    async def state() -> str:
        try:
            return next(answers)
        except StopIteration:
            done.set()
            return "the end"

    watching = asyncio.create_task(watch(state, 0, told.append))
    await done.wait()
    watching.cancel()
    assert told[:3] == ["WATCHDOG=1", "STATUS=unwell: the disk is full", "WATCHDOG=1\nSTATUS=serving"]


class FakeLauncher:
    def __init__(self, error: Exception | None = None, starting_seconds: float = 0) -> None:
        self.error = error
        self.starting_seconds = starting_seconds

    async def ping(self) -> None:
        if self.error:
            raise self.error


async def test_what_ails_a_daemon(tmp_path: Path) -> None:
    daemon = make_daemon(tmp_path)
    parts = cast(Any, daemon)
    parts.launcher = FakeLauncher()
    assert await health.problem(daemon) == ""
    parts.launcher = FakeLauncher(TimeoutError())
    assert "does not answer" in await health.problem(daemon)
    parts.launcher = FakeLauncher(TimeoutError(), starting_seconds=100)  # a restart would not make it faster
    assert await health.problem(daemon) == ""
    parts.launcher = FakeLauncher(TimeoutError(), starting_seconds=1000)
    assert "does not answer" in await health.problem(daemon)
    parts.launcher = FakeLauncher(ShimGone("launcher", "exited"))
    assert "cannot be reached" in await health.problem(daemon)
    daemon._database.execute("PRAGMA query_only = 1")
    assert "cannot be written" in await health.problem(daemon)
