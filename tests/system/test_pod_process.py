"""What a container's process finds: its environment, user, rights, root, mounts, devices, limits."""

from __future__ import annotations

from pathlib import Path

import grpc
import pytest

from cri.api import runtime_pb2 as pb
from e2e.pods import refused
from tests.system.pods import Pods


def security(**fields: object) -> pb.LinuxContainerSecurityContext:
    return pb.LinuxContainerSecurityContext(**fields)  # type: ignore[arg-type]


def status_of(pods: Pods, context: pb.LinuxContainerSecurityContext) -> dict[str, str]:
    lines = pods.output("cat", "/proc/self/status", security=context)
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)


def test_the_images_configuration_is_the_default(pods: Pods) -> None:
    pods.client.pull(pods.images.with_user)
    pod = pods.run()
    container = pods.create(pod, image=pods.images.with_user)
    pods.client.start(container.id)
    assert pods.wait_for_exit(container).exit_code == 0
    assert container.text() == ["default"]
    script = "id -u; id -g; pwd; echo $FROM_IMAGE; echo $PATH; test -d /data && echo volume"
    other = pods.create(pod, args=[script], image=pods.images.with_user, name="args")
    pods.client.start(other.id)
    assert pods.wait_for_exit(other).exit_code == 0
    assert other.text() == ["1000", "1000", "/srv", "yes", "/bin", "volume"]


def test_a_command_replaces_the_entrypoint_and_its_arguments(pods: Pods) -> None:
    pods.client.pull(pods.images.with_user)
    assert pods.output("echo", "only this", image=pods.images.with_user) == ["only this"]


def test_the_environment(pods: Pods) -> None:
    lines = pods.output("env", env={"ONE": "1", "TWO": "a b=c", "PATH": "/bin"})
    variables = dict(line.split("=", 1) for line in lines)
    assert variables["ONE"] == "1"
    assert variables["TWO"] == "a b=c"
    assert variables["PATH"] == "/bin"
    assert variables["HOSTNAME"].startswith("pod")


def test_default_capabilities_and_more_and_less(pods: Pods) -> None:
    default = int(status_of(pods, security())["CapEff"], 16)
    assert default & 1 << 0, "CAP_CHOWN"
    assert not default & 1 << 21, "CAP_SYS_ADMIN"
    added = int(status_of(pods, security(capabilities=pb.Capability(add_capabilities=["SYS_PTRACE"])))["CapEff"], 16)
    assert added == default | 1 << 19
    dropped = status_of(pods, security(capabilities=pb.Capability(drop_capabilities=["ALL"])))
    assert int(dropped["CapBnd"], 16) == 0
    one = pb.Capability(add_capabilities=["NET_BIND_SERVICE"], drop_capabilities=["ALL"])
    assert int(status_of(pods, security(capabilities=one))["CapEff"], 16) == 1 << 10


@pytest.mark.parametrize(
    ("kind", "mode"), [(pb.SecurityProfile.RuntimeDefault, "2"), (pb.SecurityProfile.Unconfined, "0")]
)
def test_seccomp(pods: Pods, kind: pb.SecurityProfile.ProfileType.ValueType, mode: str) -> None:
    context = security(seccomp=pb.SecurityProfile(profile_type=kind))
    assert status_of(pods, context)["Seccomp"] == mode


def test_no_new_privileges(pods: Pods) -> None:
    assert status_of(pods, security(no_new_privs=True))["NoNewPrivs"] == "1"
    assert status_of(pods, security(no_new_privs=False))["NoNewPrivs"] == "0"


def test_users_and_groups_by_number_and_name(pods: Pods) -> None:
    ids = ("sh", "-c", "id -u; id -g; id -G")
    numbers = security(
        run_as_user=pb.Int64Value(value=1000), run_as_group=pb.Int64Value(value=2000), supplemental_groups=[3000]
    )
    assert pods.output(*ids, security=numbers) == ["1000", "2000", "2000 3000"]
    assert pods.output(*ids, security=security(run_as_username="www-data"))[:2] == ["33", "33"]


def test_a_read_only_root(pods: Pods) -> None:
    script = "touch /x 2>&1; mount | grep ' / '"
    lines = pods.output("sh", "-c", script, security=security(readonly_rootfs=True))
    assert "Read-only file system" in lines[0]
    assert pods.output("sh", "-c", "touch /x && echo written") == ["written"]


def test_what_one_container_writes_no_other_sees(pods: Pods) -> None:
    pod = pods.run()
    assert pods.output("sh", "-c", "echo mine > /bin/ls; cat /bin/ls", pod=pod, name="a") == ["mine"]
    assert pods.output("sh", "-c", "ls -d /bin", pod=pod, name="b") == ["/bin"]


def test_masked_and_read_only_paths(pods: Pods) -> None:
    context = security(masked_paths=["/etc/passwd", "/home"], readonly_paths=["/tmp"])
    lines = pods.output("sh", "-c", "wc -c < /etc/passwd; ls /home | wc -l; touch /tmp/x 2>&1; true", security=context)
    assert lines[:2] == ["0", "0"]
    assert "Read-only file system" in lines[2]


def test_devices_and_kernel_file_systems(pods: Pods) -> None:
    lines = pods.output(
        "sh", "-c", "cd /dev && ls -d null zero full random urandom tty fd stdin stdout stderr ptmx pts shm"
    )
    assert len(lines) == 13
    types = {line.split()[2]: line.split()[4] for line in pods.output("mount")}
    assert {path: types[path] for path in ("/proc", "/dev", "/dev/pts", "/dev/shm", "/sys")} == {
        "/proc": "proc",
        "/dev": "tmpfs",
        "/dev/pts": "devpts",
        "/dev/shm": "tmpfs",
        "/sys": "sysfs",
    }
    assert "Operation not permitted" in pods.output("sh", "-c", "mknod /dev/x b 7 0 2>&1; cat /dev/x 2>&1; true")[-1]


def test_a_privileged_container_has_the_hosts_devices_and_all_rights(pods: Pods) -> None:
    config = pods.config()
    config.linux.security_context.privileged = True
    pod = pods.run(config)
    context = security(privileged=True)
    lines = pods.output("sh", "-c", "ls /dev/loop-control; grep CapEff /proc/self/status", pod=pod, security=context)
    assert lines[0] == "/dev/loop-control"
    host = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("CapEff")]
    assert lines[1] == host[0]


def test_bind_mounts(pods: Pods, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("from the host\n")
    mounts = [
        pb.Mount(container_path="/data", host_path=str(tmp_path)),
        pb.Mount(container_path="/etc/one", host_path=str(tmp_path / "file"), readonly=True),
    ]
    script = "cat /data/file /etc/one; echo back > /data/new; echo x 2>&1 > /etc/one || echo kept"
    lines = pods.output("sh", "-c", script, mounts=mounts)
    assert lines[:2] == ["from the host"] * 2
    assert lines[-1] == "kept"
    assert (tmp_path / "new").read_text() == "back\n"


def test_mounts_follow_a_link_of_the_host_but_none_of_the_image(pods: Pods, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "file").write_text("there\n")
    (tmp_path / "link").symlink_to("real")
    mounts = [pb.Mount(container_path="/data", host_path=str(tmp_path / "link"))]
    assert pods.output("cat", "/data/file", mounts=mounts) == ["there"]


def test_limits_are_those_of_the_request(pods: Pods) -> None:
    limits = pb.LinuxContainerResources(memory_limit_in_bytes=48 << 20, oom_score_adj=500)
    limit_files = "/sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max"
    script = f"cat {limit_files} 2> /dev/null; cat /proc/self/oom_score_adj"
    assert pods.output("sh", "-c", script, resources=limits) == [str(48 << 20), "500"]


def test_sysctls_of_the_pod(pods: Pods) -> None:
    config = pods.config()
    config.linux.sysctls["kernel.shm_rmid_forced"] = "1"
    config.linux.sysctls["net.ipv4.ip_unprivileged_port_start"] = "80"
    pod = pods.run(config)
    files = ("/proc/sys/kernel/shm_rmid_forced", "/proc/sys/net/ipv4/ip_unprivileged_port_start")
    assert pods.output("cat", *files, pod=pod) == ["1", "80"]


def test_dns_and_hosts(pods: Pods) -> None:
    config = pods.config()
    config.dns_config.CopyFrom(pb.DNSConfig(servers=["10.10.10.10"], searches=["example.com"], options=["ndots:8"]))
    pod = pods.run(config)
    lines = pods.output("cat", "/etc/resolv.conf", pod=pod, name="dns")
    assert lines == ["search example.com", "nameserver 10.10.10.10", "options ndots:8"]
    hosts = pods.output("cat", "/etc/hosts", "/etc/hostname", pod=pod, name="hosts")
    assert hosts[-1] == config.hostname


def test_what_the_image_declares_to_be_written_to_is_writable(pods: Pods) -> None:
    """In a read-only root filesystem too; nothing of it is left with the next container."""
    pods.client.pull(pods.images.with_user)
    script = "ls /data | wc -l; echo x > /data/mine && cat /data/mine; touch /no 2>/dev/null || echo refused"
    for _ in range(2):
        context = security(readonly_rootfs=True, run_as_user=pb.Int64Value(value=0))
        lines = pods.output("sh", "-c", script, image=pods.images.with_user, security=context)
        assert lines == ["0", "x", "refused"]


def test_a_volume_with_mount_options(pods: Pods, tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\necho ran\n")
    program.chmod(0o755)
    plain = pb.Mount(container_path="/plain", host_path=str(tmp_path))
    strict = pb.Mount(container_path="/strict", host_path=str(tmp_path), mount_options=["exec", "noexec", "nosuid"])
    script = "/plain/program; /strict/program 2>/dev/null || echo refused; grep /strict /proc/mounts"
    lines = pods.output("sh", "-c", script, mounts=[plain, strict])
    assert lines[:2] == ["ran", "refused"]
    assert {"noexec", "nosuid"} <= set(lines[2].split()[3].split(","))


def test_an_ephemeral_container_sees_its_targets_processes(pods: Pods) -> None:
    pod = pods.run()
    target = pods.start(pod, "sleep", "1001", name="target")
    aimed = security(namespace_options=pb.NamespaceOption(pid=pb.TARGET, target_id=target.id))
    lines = pods.output("sh", "-c", "cat /proc/1/cmdline | tr '\\0' ' '; echo; echo $$", pod=pod, security=aimed)
    assert lines[0].strip() == "sleep 1001"
    assert lines[1] != "1"
    # Its end is not its target's.
    assert pods.client.status(target.id).state == pb.ContainerState.CONTAINER_RUNNING


def test_a_target_must_run_in_the_same_pod(pods: Pods) -> None:
    pod, other = pods.run(), pods.run()
    target = pods.start(other, "sleep", "1001", name="target")
    aimed = security(namespace_options=pb.NamespaceOption(pid=pb.TARGET, target_id=target.id))
    refused(lambda: pods.create(pod, "true", security=aimed), grpc.StatusCode.FAILED_PRECONDITION, target.id)


def test_memory_and_swap_are_resized_up_and_down(pods: Pods) -> None:
    """Memory may never exceed memory and swap together: each order of writing is wrong for one of the directions."""
    if not Path("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes").exists():
        pytest.skip("swap is counted by a cgroup v1 hierarchy only here")
    mib = 1 << 20
    given = pb.LinuxContainerResources(memory_limit_in_bytes=64 * mib, memory_swap_limit_in_bytes=64 * mib)
    container = pods.start(pods.run(), resources=given)
    for memory, swap in ((128, 128), (32, 64), (48, 0), (256, 0), (512, 0), (16, 16)):
        wanted = pb.LinuxContainerResources(memory_limit_in_bytes=memory * mib, memory_swap_limit_in_bytes=swap * mib)
        pods.client.runtime.UpdateContainerResources(
            pb.UpdateContainerResourcesRequest(container_id=container.id, linux=wanted)
        )
        group = Path("/sys/fs/cgroup/memory", pods.cgroup.lstrip("/"), container.id)
        assert int((group / "memory.limit_in_bytes").read_text()) == memory * mib
        if swap:
            assert int((group / "memory.memsw.limit_in_bytes").read_text()) == swap * mib
        status = pods.client.status(container.id).resources.linux
        assert status.memory_limit_in_bytes == memory * mib


def test_a_full_name_as_the_hostname(pods: Pods) -> None:
    config = pods.config()
    config.hostname = "web-0.web.default.svc.cluster.local"
    lines = pods.output(
        "sh", "-c", "hostname; cat /etc/hostname; echo $HOSTNAME; grep -c web-0 /etc/hosts", pod=pods.run(config)
    )
    assert lines == [config.hostname] * 3 + ["1"]
