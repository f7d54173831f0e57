"""When the kubelet's pod CIDR becomes the built-in network's, and what is kept of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from cni.errors import ConfigError
from cni.values import BuiltinSubnet
from cri.api import runtime_pb2 as api
from cri.daemon import Daemon
from cri.errors import FailedPrecondition, InvalidArgument
from cri.pod_cidr import parse, subnets
from cri.runtime_service.update_runtime_config import update_runtime_config
from tests.unit.cri_daemon import CALL, make_daemon


class Networks:
    """`answer` is what move() gives, or raises."""

    def __init__(self, answer: bool | ConfigError = True) -> None:
        self.answer = answer
        self.asked: list[str] = []

    async def move(self, wanted: tuple[BuiltinSubnet, ...]) -> bool:
        self.asked += [subnet.subnet for subnet in wanted]
        if isinstance(self.answer, ConfigError):
            raise self.answer
        return self.answer


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Daemon]:
    made = make_daemon(tmp_path)
    made.settings.root.mkdir(exist_ok=True)
    cast(Any, made).networks = Networks()
    yield made
    await made.reconciler.close()


async def tell(daemon: Daemon, text: str) -> None:
    config = api.RuntimeConfig(network_config=api.NetworkConfig(pod_cidr=text))
    await update_runtime_config(daemon, api.UpdateRuntimeConfigRequest(runtime_config=config), CALL)


async def test_what_is_told_is_used_and_kept_for_the_next_start(daemon: Daemon) -> None:
    before = subnets(daemon.settings)
    assert before == daemon.settings.network.subnets
    await tell(daemon, "10.3.7.0/24, fd00:3::/64")
    assert cast(Any, daemon.networks).asked == ["10.3.7.0/24", "fd00:3::/64"]
    assert subnets(daemon.settings) == ("10.3.7.0/24", "fd00:3::/64")


async def test_nothing_told_changes_nothing(daemon: Daemon) -> None:
    await tell(daemon, "")
    assert cast(Any, daemon.networks).asked == []


async def test_configured_subnets_win(daemon: Daemon) -> None:
    own = replace(daemon.settings.network, subnets=("10.9.0.0/16",))
    daemon.settings = replace(daemon.settings, network=own)
    await tell(daemon, "10.3.7.0/24")
    assert cast(Any, daemon.networks).asked == []
    assert subnets(daemon.settings) == ("10.9.0.0/16",)


async def test_not_while_pods_have_other_addresses(daemon: Daemon, caplog: pytest.LogCaptureFixture) -> None:
    before = subnets(daemon.settings)
    cast(Any, daemon).networks = Networks(answer=False)
    await tell(daemon, "10.3.7.0/24")
    assert subnets(daemon.settings) == before
    assert "while pods have other addresses" in caplog.text


async def test_a_range_that_the_host_uses_is_refused_with_the_reason(daemon: Daemon) -> None:
    cast(Any, daemon).networks = Networks(ConfigError("coracle", "subnets[0]", "overlaps 10.3.0.1/16 that eth0 has"))
    with pytest.raises(FailedPrecondition, match=r"10\.3\.7\.0/24 cannot be used.*eth0"):
        await tell(daemon, "10.3.7.0/24")
    assert subnets(daemon.settings) == daemon.settings.network.subnets


@pytest.mark.parametrize("text", ["10.3.7.0/33", "pods", "10.3.7.0/24,x"])
def test_what_is_no_cidr_is_the_callers_fault(text: str) -> None:
    with pytest.raises(InvalidArgument, match="pod_cidr"):
        parse(text)
