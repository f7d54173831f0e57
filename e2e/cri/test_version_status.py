"""Version, Status, RuntimeConfig, UpdateRuntimeConfig: what a kubelet needs before it runs anything."""

from __future__ import annotations

import json
import re

import grpc
import pytest

from cri.api import runtime_pb2 as pb
from e2e.client import Client
from e2e.pods import refused


@pytest.mark.parametrize("version", ["0.1.0", "v1", ""])
def test_version_has_four_fields_whatever_the_caller_says_of_itself(client: Client, version: str) -> None:
    """client: none of the four may be empty. kubelet: `version` must be 0.1.0; it sends that, crictl sends v1."""
    answer = client.runtime.Version(pb.VersionRequest(version=version), timeout=5)
    assert answer.version == "0.1.0"
    assert answer.runtime_api_version == "v1"
    assert answer.runtime_name
    # proto: semver-compatible
    assert re.match(r"v?\d+\.\d+\.\d+", answer.runtime_version)


def test_the_runtimes_name_can_be_the_scheme_of_a_container_id(client: Client) -> None:
    """kubelet: the API shows containers as NAME://ID."""
    assert re.fullmatch(r"[a-z][a-z0-9+.-]*", client.runtime.Version(pb.VersionRequest(), timeout=5).runtime_name)


def test_both_conditions_are_there_and_true(client: Client) -> None:
    """client: a status with at least two conditions. kubelet: RuntimeReady and NetworkReady make the node ready."""
    answer = client.runtime.Status(pb.StatusRequest(), timeout=5)
    conditions = {condition.type: condition.status for condition in answer.status.conditions}
    assert conditions["RuntimeReady"]
    assert conditions["NetworkReady"]


def test_only_a_verbose_status_has_information(client: Client) -> None:
    """proto: info only with verbose. crictl: a value that begins like JSON must be JSON; critest wants "config"."""
    assert not client.runtime.Status(pb.StatusRequest(), timeout=5).info
    info = client.runtime.Status(pb.StatusRequest(verbose=True), timeout=5).info
    for value in info.values():
        if value.startswith("{"):
            json.loads(value)
    assert json.loads(info["config"])["stateDir"].startswith("/")


def test_runtime_handlers_have_unique_names_and_a_default(client: Client) -> None:
    """kubelet: it takes the handler named "" for pods without a RuntimeClass; an empty list means an old runtime."""
    handlers = [handler.name for handler in client.runtime.Status(pb.StatusRequest(), timeout=5).runtime_handlers]
    assert "" in handlers
    assert len(set(handlers)) == len(handlers)


def test_the_default_handler_is_also_listed_by_its_own_name(client: Client) -> None:
    """kubelet: a RuntimeClass may name it, and its features are looked up by that name."""
    handlers = {h.name: h.features for h in client.runtime.Status(pb.StatusRequest(), timeout=5).runtime_handlers}
    assert any(name and features == handlers[""] for name, features in handlers.items())


def test_runtime_config_tells_the_cgroup_driver(client: Client) -> None:
    """kubelet: authoritative since 1.34; a `linux` message must be there, else the kubelet's own setting counts."""
    answer = client.runtime.RuntimeConfig(pb.RuntimeConfigRequest(), timeout=5)
    assert answer.HasField("linux")
    assert answer.linux.cgroup_driver in (pb.CgroupDriver.SYSTEMD, pb.CgroupDriver.CGROUPFS)


@pytest.mark.parametrize("cidr", ["10.250.0.0/24", "10.250.0.0/24,fd00:10::/64", ""])
def test_a_pod_cidr_is_accepted(client: Client, cidr: str) -> None:
    """kubelet: sent when the node's pod CIDR changes; doing nothing is fine."""
    config = pb.RuntimeConfig(network_config=pb.NetworkConfig(pod_cidr=cidr))
    client.runtime.UpdateRuntimeConfig(pb.UpdateRuntimeConfigRequest(runtime_config=config), timeout=5)


def test_the_image_service_answers_from_the_first_second(client: Client) -> None:
    """client: ImageFsInfo is part of connecting; without it no kubelet starts."""
    assert client.images.ImageFsInfo(pb.ImageFsInfoRequest(), timeout=5).image_filesystems


def test_checkpoints_work_or_say_that_they_do_not(client: Client) -> None:
    """kubelet's tests skip on exactly these texts; an unknown container is NOT_FOUND where checkpoints work."""
    request = pb.CheckpointContainerRequest(container_id="f" * 64, location="/nowhere/x.tar")
    codes = (grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.UNKNOWN, grpc.StatusCode.NOT_FOUND)
    message = refused(lambda: client.runtime.CheckpointContainer(request, timeout=5), codes)
    texts = ("method CheckpointContainer not implemented", "checkpoint/restore support not available", "not found")
    assert any(text in message for text in texts), message
