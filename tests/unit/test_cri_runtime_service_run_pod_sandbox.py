"""RunPodSandbox of pods that need no root: with the host's network and IPC."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest

from cri.api import runtime_pb2 as api
from cri.daemon import Daemon
from cri.errors import AlreadyExists, FailedPrecondition, Unavailable
from cri.host import process_state
from cri.runtime_service.run_pod_sandbox import _refused_sysctl, run_pod_sandbox
from cri.runtime_service.update_pod_sandbox_resources import update_pod_sandbox_resources
from cri.state.machine import SandboxState
from cri.teardown import stop_sandbox
from oci.protocol.messages import SandboxNamespaces, SandboxSetup
from tests.unit.cri_daemon import CALL, FakeShim, add_pod, make_daemon, pod_config


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Daemon]:
    made = make_daemon(tmp_path)
    yield made
    await made.reconciler.close()


@pytest.fixture(autouse=True)
def setup(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the shims answer to a setup: change it for a test."""
    answer: dict[str, Any] = {}

    async def answers(self: FakeShim, setup: SandboxSetup) -> SandboxNamespaces:
        self.is_alive = answer.get("alive", True)
        if failure := answer.get("failure"):
            raise failure
        return SandboxNamespaces(init_pid=answer.get("init_pid"))

    monkeypatch.setattr(FakeShim, "setup", answers, raising=False)
    return answer


def run(daemon: Daemon, name: str = "web") -> asyncio.Task[api.RunPodSandboxResponse]:
    return asyncio.ensure_future(run_pod_sandbox(daemon, api.RunPodSandboxRequest(config=pod_config(name)), CALL))


async def test_a_pod_is_ready_and_its_name_taken(daemon: Daemon) -> None:
    record = daemon.sandboxes.need((await run(daemon)).pod_sandbox_id)
    assert (record.state, record.delivered, record.shim_pid) == (SandboxState.READY, True, 1)
    with pytest.raises(AlreadyExists, match=record.id):
        await run(daemon)
    await run(daemon, "another")


async def test_two_callers_get_one_pod(daemon: Daemon) -> None:
    first, second = await asyncio.gather(run(daemon), run(daemon))
    assert first == second
    assert len(daemon.sandboxes) == 1


async def test_a_failure_undoes_all_and_is_the_answer(daemon: Daemon, setup: dict[str, Any]) -> None:
    setup["failure"] = OSError("no namespaces left")
    with pytest.raises(OSError, match="no namespaces left"):
        await run(daemon)
    assert (list(daemon.sandboxes), daemon.pods) == ([], {})
    assert os.listdir(daemon.settings.runroot / "sandboxes") == []


async def test_a_failure_is_the_answer_even_if_it_cannot_be_undone(daemon: Daemon, setup: dict[str, Any]) -> None:
    setup["failure"] = OSError("no namespaces left")
    shim_failure = RuntimeError("the shim will not end")

    async def refuse(self: FakeShim) -> None:
        raise shim_failure

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FakeShim, "shutdown", refuse)
        with pytest.raises(OSError, match="no namespaces left"):
            await run(daemon)
    assert daemon.sandboxes.list_bytes() == b""
    await daemon.reconciler.finish()
    assert list(daemon.sandboxes) == []


@pytest.mark.parametrize("answer", [{"alive": False}, {"init_pid": os.getpid(), "start": 1}])
async def test_a_pod_whose_shim_or_init_is_dead_does_not_become_ready(
    daemon: Daemon, setup: dict[str, Any], answer: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    setup.update(answer)
    if "init_pid" in answer:
        monkeypatch.setitem(run_pod_sandbox.__globals__, "is_alive", lambda pid, start: False)
        monkeypatch.setattr("cri.teardown.kill_process", lambda pid, start: None)
    with pytest.raises(Unavailable, match="died while the pod was being made"):
        await run(daemon)
    assert list(daemon.sandboxes) == []


async def test_an_init_is_known_by_its_start(daemon: Daemon, setup: dict[str, Any]) -> None:
    setup["init_pid"] = os.getpid()
    record = daemon.sandboxes.need((await run(daemon)).pod_sandbox_id)
    assert (record.init_pid, record.init_start) == (os.getpid(), process_state(os.getpid()).start)


async def test_resources_that_come_late_do_not_revive_a_pod(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    pod, _ = add_pod(daemon)

    async def slow(record: object) -> None:
        await stop_sandbox(daemon, pod.id)

    monkeypatch.setattr(cast(Any, daemon).nri, "updating_pod", slow)
    await update_pod_sandbox_resources(daemon, api.UpdatePodSandboxResourcesRequest(pod_sandbox_id=pod.id), CALL)
    assert daemon.sandboxes.need(pod.id).state is SandboxState.NOT_READY
    with pytest.raises(FailedPrecondition):
        await update_pod_sandbox_resources(daemon, api.UpdatePodSandboxResourcesRequest(pod_sandbox_id=pod.id), CALL)


def test_a_value_that_the_kernel_refuses_is_the_callers_fault() -> None:
    name = "net.ipv4.ip_unprivileged_port_start"
    config = api.PodSandboxConfig(linux=api.LinuxPodSandboxConfig(sysctls={"net.core.somaxconn": "1", name: " "}))
    refused = _refused_sysctl(OSError(22, "Invalid argument", f"sysctl {name} = ' '"), config)
    assert str(refused) == f"config.linux.sysctls['{name}']: ' ': Invalid argument"
    assert _refused_sysctl(OSError(28, "No space left on device", "/run/x"), config) is None
