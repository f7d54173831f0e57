from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import pytest

from cri.api import runtime_pb2 as api
from cri.daemon import Daemon
from cri.errors import InvalidArgument, Unavailable
from cri.security import apparmor_profile, filter_fd, with_agent
from cri.specgen import HostFacts
from oci.spec import Spec


def host(*, apparmor: bool) -> HostFacts:
    return HostFacts(cgroup_v2=True, capabilities=(), apparmor=apparmor)


def context(kind: api.SecurityProfile.ProfileType.ValueType, name: str = "") -> api.LinuxContainerSecurityContext:
    return api.LinuxContainerSecurityContext(apparmor=api.SecurityProfile(profile_type=kind, localhost_ref=name))


@pytest.fixture
def profiles(tmp_path: Path) -> Path:
    path = tmp_path / "profiles"
    path.write_text("mine (enforce)\nwith blank (complain)\n")
    return path


@pytest.mark.parametrize("name", ["mine", "localhost/mine", "with blank"])
def test_a_loaded_profile(profiles: Path, name: str) -> None:
    wanted = name.removeprefix("localhost/")
    assert apparmor_profile(host(apparmor=True), context(api.SecurityProfile.Localhost, name), profiles) == wanted
    if name.startswith("localhost/"):
        old = api.LinuxContainerSecurityContext(apparmor_profile=name)
        assert apparmor_profile(host(apparmor=True), old, profiles) == wanted


def test_one_that_is_not_loaded_is_refused_before_anything_is_made(profiles: Path) -> None:
    with pytest.raises(InvalidArgument, match="'other' is not loaded"):
        apparmor_profile(host(apparmor=True), context(api.SecurityProfile.Localhost, "other"), profiles)


def test_where_the_kernels_list_cannot_be_read_the_start_tells(tmp_path: Path) -> None:
    wanted = context(api.SecurityProfile.Localhost, "other")
    assert apparmor_profile(host(apparmor=True), wanted, tmp_path / "absent") == "other"


def test_without_apparmor_only_a_named_profile_is_an_error(profiles: Path) -> None:
    without = host(apparmor=False)
    assert apparmor_profile(without, context(api.SecurityProfile.RuntimeDefault), profiles) is None
    assert apparmor_profile(without, api.LinuxContainerSecurityContext(), profiles) is None
    with pytest.raises(Unavailable, match="not enabled"):
        apparmor_profile(without, context(api.SecurityProfile.Localhost, "mine"), profiles)


def test_the_default_is_used_where_it_is_loaded(profiles: Path) -> None:
    default = context(api.SecurityProfile.RuntimeDefault)
    assert apparmor_profile(host(apparmor=True), default, profiles) is None
    profiles.write_text("coracle-default (enforce)\n")
    assert apparmor_profile(host(apparmor=True), default, profiles) == "coracle-default"
    for unconfined in (
        context(api.SecurityProfile.Unconfined),
        api.LinuxContainerSecurityContext(apparmor_profile="unconfined"),
        api.LinuxContainerSecurityContext(privileged=True, apparmor_profile="localhost/mine"),
    ):
        assert apparmor_profile(host(apparmor=True), unconfined, profiles) is None


NOBODY = cast(Daemon, object())  # a profile of the host is read without it
PLAIN = Spec(oci_version="1.3.0")


def localhost(directory: Path, **more: Any) -> api.LinuxContainerSecurityContext:
    path = directory / "profile.json"
    rule = {"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}
    path.write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]} | more))
    profile = api.SecurityProfile(profile_type=api.SecurityProfile.Localhost, localhost_ref=str(path))
    return api.LinuxContainerSecurityContext(seccomp=profile)


def test_a_profile_with_an_agent_goes_to_the_shim_as_it_is(tmp_path: Path) -> None:
    context = localhost(tmp_path, listenerPath="/run/agent.sock", listenerMetadata="m")
    specification = with_agent(NOBODY, context, PLAIN)
    assert specification.linux.seccomp is not None
    assert specification.linux.seccomp.listener_path == "/run/agent.sock"
    assert filter_fd(NOBODY, context, specification) is None


def test_other_profiles_are_the_daemons_to_compile(tmp_path: Path) -> None:
    assert with_agent(NOBODY, localhost(tmp_path, syscalls=[]), PLAIN) == PLAIN
    assert with_agent(NOBODY, api.LinuxContainerSecurityContext(privileged=True), PLAIN) == PLAIN


def test_notifications_without_an_agent_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="no listenerPath"):
        with_agent(NOBODY, localhost(tmp_path), PLAIN)
