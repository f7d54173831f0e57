"""The calls that tell about the runtime itself: Version, Status, RuntimeConfig, UpdateRuntimeConfig."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cni.values import NetworkStatus
from cri.api import runtime_pb2 as api
from cri.config import KEYS, Settings, with_derived
from cri.features import Features
from cri.rpc import Call
from cri.runtime_service.runtime_config import runtime_config
from cri.runtime_service.status import status
from cri.runtime_service.version import version
from cri.version import VERSION

CALL = Call(request_id="r", method="m", metadata={})


class FakeDaemon:
    settings = with_derived(Settings())
    features = Features(recursive_read_only_mounts=True, supplemental_groups_policy=True)
    runtime_handlers = ("", "coracle", "runc")
    launcher_problem = ""
    apparmor = "coracle-default is loaded"
    selinux_state = "enabled: labels are set"

    def __init__(self, network: NetworkStatus | None = None, driver: str = "v1") -> None:
        self.networks: Any = SimpleNamespace(status=lambda: network or NetworkStatus(ready=True))
        self.cgroups: Any = SimpleNamespace(name=driver)


@pytest.mark.parametrize("theirs", ["0.1.0", "v1", ""])
async def test_version_is_what_the_kubelet_wants_whoever_asks(theirs: str) -> None:
    answer = await version(None, api.VersionRequest(version=theirs), CALL)
    assert (answer.version, answer.runtime_name, answer.runtime_api_version) == ("0.1.0", "coracle", "v1")
    assert answer.runtime_version == VERSION


def test_the_version_is_the_project_s() -> None:
    project = Path(__file__).parents[2] / "pyproject.toml"
    assert tomllib.loads(project.read_text())["project"]["version"] == VERSION


async def test_status_has_both_conditions() -> None:
    answer = await status(FakeDaemon(), api.StatusRequest(), CALL)
    assert [(c.type, c.status, c.reason) for c in answer.status.conditions] == [
        ("RuntimeReady", True, ""),
        ("NetworkReady", True, ""),
    ]
    assert not answer.info


async def test_without_a_launcher_the_runtime_is_not_ready() -> None:
    daemon = FakeDaemon()
    daemon.launcher_problem = "no pod can be started: launcher: exited"
    answer = await status(daemon, api.StatusRequest(), CALL)
    (runtime,) = [each for each in answer.status.conditions if each.type == "RuntimeReady"]
    assert (runtime.status, runtime.reason) == (False, "LauncherNotRunning")
    assert runtime.message == daemon.launcher_problem


async def test_a_network_that_is_not_ready_says_why() -> None:
    network = NetworkStatus(ready=False, reason="NetworkPluginNotReady", message="no configuration")
    condition = (await status(FakeDaemon(network), api.StatusRequest(), CALL)).status.conditions[1]
    assert (condition.status, condition.reason, condition.message) == (False, network.reason, network.message)


async def test_features_are_those_of_our_own_handlers_only() -> None:
    answer = await status(FakeDaemon(), api.StatusRequest(), CALL)
    assert {h.name: h.features.recursive_read_only_mounts for h in answer.runtime_handlers} == {
        "": True,
        "coracle": True,
        "runc": False,
    }
    assert answer.features.supplemental_groups_policy
    assert not answer.features.mount_options


async def test_verbose_status_has_every_setting_and_the_state_directory() -> None:
    answer = await status(FakeDaemon(), api.StatusRequest(verbose=True), CALL)
    config = json.loads(answer.info["config"])
    assert config["stateDir"] == "/var/lib/coracle/containers"
    assert config["cni_bin_dir"] == ["/opt/cni/bin", "/usr/lib/cni"]
    assert {key.dotted for key in KEYS} <= config.keys()
    assert json.loads(answer.info["host"]) == {
        "cgroupDriver": "v1",
        "apparmor": "coracle-default is loaded",
        "selinux": "enabled: labels are set",
    }


@pytest.mark.parametrize(("driver", "answer"), [("systemd", api.SYSTEMD), ("v1", api.CGROUPFS), ("v2", api.CGROUPFS)])
async def test_the_cgroup_driver_is_always_said(driver: str, answer: int) -> None:
    config = await runtime_config(FakeDaemon(driver=driver), api.RuntimeConfigRequest(), CALL)
    assert config.HasField("linux")
    assert config.linux.cgroup_driver == answer
