from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest

from cri import reconciler
from cri.daemon import Daemon
from cri.state.machine import ContainerState, SandboxState
from tests.unit.cri_daemon import add_container, add_pod, make_daemon, until


@pytest.fixture
async def daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Daemon]:
    monkeypatch.setattr(reconciler, "FIRST_PAUSE_S", 0.0)
    monkeypatch.setattr(reconciler, "LONGEST_PAUSE_S", 0.0)
    made = make_daemon(tmp_path)
    yield made
    await made.reconciler.close()
    await made.trash.close()


async def test_it_goes_on_until_everything_is_finished(daemon: Daemon) -> None:
    pod, shim = add_pod(daemon, SandboxState.STOPPING, netns="/run/netns/none-such")
    other, _other_shim = add_pod(daemon, SandboxState.REMOVING)
    container = add_container(daemon, shim, ContainerState.REMOVING)
    cast(Any, daemon.networks).failures = [OSError("one"), OSError("two")]
    daemon.reconciler.wake()
    await until(lambda: daemon.sandboxes.need(pod.id).state is SandboxState.NOT_READY and len(daemon.sandboxes) == 1)
    assert cast(Any, daemon.networks).deleted == [pod.id] * 3
    assert daemon.sandboxes.get(other.id) is None
    assert daemon.containers.get(container.id) is None


async def test_one_that_hangs_keeps_nobody_waiting(daemon: Daemon) -> None:
    hung, shim = add_pod(daemon, SandboxState.REMOVING)
    shim.gates["shutdown"] = asyncio.Event()
    other, _ = add_pod(daemon, SandboxState.REMOVING)
    daemon.reconciler.wake()
    await until(lambda: daemon.sandboxes.get(other.id) is None)
    assert daemon.sandboxes.get(hung.id)
    shim.gates["shutdown"].set()
    await until(lambda: daemon.sandboxes.get(hung.id) is None)


async def test_what_stands_is_left_alone(daemon: Daemon) -> None:
    _, shim = add_pod(daemon)
    add_container(daemon, shim)
    await daemon.reconciler.finish()
    assert shim.calls == []
