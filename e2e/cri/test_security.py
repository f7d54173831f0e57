"""Security contexts: who the process is and what it may do."""

from __future__ import annotations

import json
from pathlib import Path

import grpc
import pytest

from cri.api import runtime_pb2 as pb
from e2e.cri.pods import Pods, security
from e2e.pods import failure

SYS_PTRACE, NET_BIND_SERVICE, SYS_ADMIN, CHOWN = 19, 10, 21, 0


def status_of(pods: Pods, context: pb.LinuxContainerSecurityContext) -> dict[str, str]:
    lines = pods.output("cat", "/proc/self/status", security=context)
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)


def rights(pods: Pods, *, add: list[str] | None = None, drop: list[str] | None = None) -> int:
    wanted = pb.Capability(add_capabilities=add or [], drop_capabilities=drop or [])
    return int(status_of(pods, security(capabilities=wanted))["CapEff"], 16)


def test_user_group_and_supplementary_groups(pods: Pods) -> None:
    context = security(
        run_as_user=pb.Int64Value(value=1000), run_as_group=pb.Int64Value(value=2000), supplemental_groups=[3000]
    )
    assert pods.output("sh", "-c", "id -u; id -g; id -G", security=context) == ["1000", "2000", "2000 3000"]


def test_a_user_by_name_is_looked_up_in_the_image(pods: Pods) -> None:
    """proto, run_as_username: must be in the image's /etc/passwd, else an error."""
    assert pods.output("id", "-u", security=security(run_as_username="www-data")) == ["33"]
    failure(lambda: pods.run_to_end("true", security=security(run_as_username="nobody-of-that-name")))


def test_the_images_user_is_the_default(pods: Pods) -> None:
    assert pods.output("sh", "-c", "id -u; id -g; pwd", image=pods.images.with_user) == ["1000", "1000", "/srv"]


def test_the_pods_user_comes_before_the_images(pods: Pods) -> None:
    context = security(run_as_user=pb.Int64Value(value=0))
    assert pods.output("id", "-u", image=pods.images.with_user, security=context) == ["0"]


def test_a_group_needs_a_user(pods: Pods) -> None:
    """proto, run_as_group: without a user it must be an error."""
    failure(lambda: pods.run_to_end("true", security=security(run_as_group=pb.Int64Value(value=1000))))


def test_strict_groups_are_only_those_of_the_pod(pods: Pods) -> None:
    """proto, supplemental_groups_policy Strict: the image's memberships do not count."""
    context = security(
        run_as_username="www-data",
        supplemental_groups=[3000],
        supplemental_groups_policy=pb.SupplementalGroupsPolicy.Strict,
    )
    assert pods.output("id", "-G", security=context) == ["33 3000"]


def test_capabilities_are_added_and_dropped(pods: Pods) -> None:
    default = rights(pods)
    assert default & 1 << CHOWN
    assert not default & 1 << SYS_ADMIN
    assert rights(pods, add=["SYS_PTRACE"]) == default | 1 << SYS_PTRACE
    assert rights(pods, drop=["CHOWN"]) == default & ~(1 << CHOWN)
    assert rights(pods, drop=["ALL"]) == 0
    assert rights(pods, add=["NET_BIND_SERVICE"], drop=["ALL"]) == 1 << NET_BIND_SERVICE


def test_a_user_without_rights_has_none(pods: Pods) -> None:
    """A container's capabilities are for root, unless they are ambient."""
    context = security(run_as_user=pb.Int64Value(value=1000))
    assert int(status_of(pods, context)["CapEff"], 16) == 0


def test_ambient_capabilities_reach_a_user(pods: Pods) -> None:
    """proto, add_ambient_capabilities."""
    context = security(
        run_as_user=pb.Int64Value(value=1000),
        capabilities=pb.Capability(add_ambient_capabilities=["NET_BIND_SERVICE"]),
    )
    status = status_of(pods, context)
    assert int(status["CapAmb"], 16) & 1 << NET_BIND_SERVICE
    assert int(status["CapEff"], 16) & 1 << NET_BIND_SERVICE


@pytest.mark.parametrize("wanted", [True, False])
def test_no_new_privileges(pods: Pods, wanted: bool) -> None:
    assert status_of(pods, security(no_new_privs=wanted))["NoNewPrivs"] == str(int(wanted))


@pytest.mark.parametrize(
    ("kind", "mode"), [(pb.SecurityProfile.RuntimeDefault, "2"), (pb.SecurityProfile.Unconfined, "0")]
)
def test_seccomp_profiles(pods: Pods, kind: pb.SecurityProfile.ProfileType.ValueType, mode: str) -> None:
    context = security(seccomp=pb.SecurityProfile(profile_type=kind))
    assert status_of(pods, context)["Seccomp"] == mode


def test_no_seccomp_profile_is_unconfined(pods: Pods) -> None:
    """proto: nil is Unconfined for a container."""
    assert status_of(pods, security())["Seccomp"] == "0"


def test_a_localhost_seccomp_profile(pods: Pods, tmp_path: Path) -> None:
    """kubelet: localhost_ref is an absolute path."""
    profile = tmp_path / "no-mkdir.json"
    rule = {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}
    profile.write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}))
    local = pb.SecurityProfile(profile_type=pb.SecurityProfile.Localhost, localhost_ref=str(profile))
    lines = pods.output("sh", "-c", "mkdir /x 2>&1; touch /y && echo touched", security=security(seccomp=local))
    assert "Operation not permitted" in lines[0]
    assert lines[1] == "touched"


def test_a_missing_localhost_seccomp_profile_is_an_error(pods: Pods, tmp_path: Path) -> None:
    local = pb.SecurityProfile(profile_type=pb.SecurityProfile.Localhost, localhost_ref=str(tmp_path / "none.json"))
    failure(lambda: pods.run_to_end("true", security=security(seccomp=local)))


def test_a_read_only_root(pods: Pods) -> None:
    lines = pods.output("sh", "-c", "touch /x 2>&1; true", security=security(readonly_rootfs=True))
    assert "Read-only file system" in lines[0]


def test_masked_and_read_only_paths(pods: Pods) -> None:
    context = security(masked_paths=["/etc/passwd", "/home"], readonly_paths=["/tmp"])
    lines = pods.output("sh", "-c", "wc -c < /etc/passwd; ls /home | wc -l; touch /tmp/x 2>&1; true", security=context)
    assert lines[:2] == ["0", "0"]
    assert "Read-only file system" in lines[2]


def test_masked_paths_that_are_not_there_are_no_error(pods: Pods) -> None:
    """kubelet: its list names paths that many kernels do not have."""
    context = security(masked_paths=["/proc/nothing-there"], readonly_paths=["/proc/nor-this"])
    assert pods.output("echo", "runs", security=context) == ["runs"]


def test_privileged(pods: Pods) -> None:
    """proto: all capabilities of the runtime, the host's devices, no seccomp, a writable /sys."""
    config = pods.config()
    config.linux.security_context.privileged = True
    script = (
        "grep CapEff /proc/self/status; ls /dev/loop-control; grep Seccomp: /proc/self/status; mount | grep ' /sys '"
    )
    lines = pods.output("sh", "-c", script, pod=pods.run(config), security=security(privileged=True))
    host = dict(line.split(":\t") for line in Path("/proc/self/status").read_text().splitlines() if ":\t" in line)
    assert int(lines[0].split()[1], 16) == int(host["CapEff"], 16)
    assert lines[1] == "/dev/loop-control"
    assert lines[2].split()[1] == "0"
    assert "(rw," in lines[3]


def test_a_privileged_container_needs_a_privileged_pod(pods: Pods) -> None:
    """proto, sandbox privileged: a pod with a privileged container must itself be privileged."""
    failure(lambda: pods.run_to_end("true", security=security(privileged=True)))


def test_oom_score_adjustment_and_limits(pods: Pods) -> None:
    limits = pb.LinuxContainerResources(memory_limit_in_bytes=48 << 20, oom_score_adj=500)
    files = "/sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max"
    lines = pods.output("sh", "-c", f"cat {files} 2> /dev/null; cat /proc/self/oom_score_adj", resources=limits)
    assert lines == [str(48 << 20), "500"]


def test_apparmor_where_the_host_has_none(pods: Pods) -> None:
    """A profile that cannot be enforced must be refused, not ignored."""
    if Path("/sys/module/apparmor/parameters/enabled").exists():
        pytest.skip("this host has AppArmor")
    local = pb.SecurityProfile(profile_type=pb.SecurityProfile.Localhost, localhost_ref="some-profile")
    assert failure(lambda: pods.run_to_end("true", security=security(apparmor=local))).code() is not (
        grpc.StatusCode.INTERNAL
    )
