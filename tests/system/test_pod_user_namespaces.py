"""Pods with users of their own: root inside is nobody on the host, and files belong to whom they should."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import grpc
import pytest

from cri.api import runtime_pb2 as pb
from e2e.client import container_config
from e2e.pods import Container, Pod, refused, until
from tests.system.pods import Pods

_HOST_ID = 400_000
_SIZE = 65536
_HIERARCHIES = ("/sys/fs/cgroup/pids", "/sys/fs/cgroup")
_MAPPING = [pb.IDMapping(container_id=0, host_id=_HOST_ID, length=_SIZE)]


def users_config(pods: Pods, pid: pb.NamespaceMode.ValueType = pb.CONTAINER) -> pb.PodSandboxConfig:
    config = pods.config()
    options = config.linux.security_context.namespace_options
    options.pid = pid
    options.userns_options.CopyFrom(pb.UserNamespace(mode=pb.POD, uids=_MAPPING, gids=_MAPPING))
    return config


def output(pods: Pods, pod: Pod, script: str, name: str = "main", **settings: object) -> list[str]:
    container, ended = pods.run_to_end("sh", "-c", script, pod=pod, name=name, **settings)
    assert ended.exit_code == 0, container.log.read_text()
    return container.text()


def pid_of(pods: Pods, container: Container) -> int:
    """The container's first process, found by its cgroup."""
    places = (Path(root, pods.cgroup.lstrip("/"), container.id, "cgroup.procs") for root in _HIERARCHIES)
    return int(next(place for place in places if place.exists()).read_text().split()[0])


@pytest.mark.parametrize("pid", [pb.CONTAINER, pb.POD], ids=["own pids", "shared pids"])
def test_root_inside_is_nobody_outside(pods: Pods, pid: pb.NamespaceMode.ValueType) -> None:
    pod = pods.run(users_config(pods, pid))
    context = pb.LinuxContainerSecurityContext(namespace_options=pb.NamespaceOption(pid=pid))
    container = pods.start(pod, security=context)
    host = pid_of(pods, container)
    status = dict(
        line.split(":\t", 1) for line in Path(f"/proc/{host}/status").read_text().splitlines() if ":\t" in line
    )
    assert set(status["Uid"].split()) | set(status["Gid"].split()) == {str(_HOST_ID)}
    assert Path(f"/proc/{host}/uid_map").read_text().split() == ["0", str(_HOST_ID), str(_SIZE)]
    for kind in ("user", "net", "ipc", "uts", "pid", "mnt"):
        assert os.stat(f"/proc/{host}/ns/{kind}").st_ino != os.stat(f"/proc/self/ns/{kind}").st_ino
    reply = pods.client.runtime.ExecSync(
        pb.ExecSyncRequest(container_id=container.id, cmd=["sh", "-c", "id -u; echo again > /dev/stdout"], timeout=20)
    )
    assert (reply.stdout, reply.exit_code) == (b"0\nagain\n", 0)


def test_the_image_belongs_to_the_pods_users(pods: Pods) -> None:
    pod = pods.run(users_config(pods))
    script = "stat -c %u:%g / /bin /bin/busybox; echo x > /new; chmod 700 /bin; stat -c %u /new /bin; cat /proc/mounts"
    lines = output(pods, pod, script)
    assert lines[:5] == ["0:0"] * 3 + ["0", "0"]
    (upper,) = (pods.daemon.root / "containers").glob("*/upper")
    assert {os.stat(path).st_uid for path in (upper, upper / "new", upper / "bin")} == {_HOST_ID}


def test_what_a_container_may_not(pods: Pods) -> None:
    """Root of the pod has no power over what is the host's."""
    pod = pods.run(users_config(pods))
    script = """
        mknod /disk b 8 0 && echo made a device
        echo 1 > /proc/sys/vm/drop_caches && echo wrote a global sysctl
        mkdir /m; mount -t proc proc /m && echo mounted
        cat /proc/1/root/etc/hostname > /dev/null || echo cannot see itself
        true
    """
    container, ended = pods.run_to_end("sh", "-c", script, pod=pod)
    assert ended.exit_code == 0
    assert [text for stream, _, text in container.entries() if stream == "stdout"] == []


def test_the_pods_files_are_its_roots(pods: Pods) -> None:
    pod = pods.run(users_config(pods))
    script = (
        "stat -c %u /etc/hosts /etc/hostname /etc/resolv.conf /dev/shm; cat /etc/hostname; "
        "echo 127.0.0.1 me >> /etc/hosts; echo x > /dev/shm/x; stat -c %u /dev/shm/x; stat -c %u /sys/kernel /proc/1"
    )
    lines = output(pods, pod, script)
    assert lines == ["0"] * 4 + [pod.config.hostname, "0", "65534", "0"]


def test_the_default_devices_work(pods: Pods) -> None:
    pod = pods.run(users_config(pods))
    script = "echo x > /dev/null; head -c 4 /dev/urandom | wc -c; head -c 2 /dev/zero | wc -c; ls /dev/pts /dev/mqueue"
    assert output(pods, pod, script)[:2] == ["4", "2"]


def test_an_asked_for_device_is_the_hosts(pods: Pods) -> None:
    pod = pods.run(users_config(pods))
    config = container_config("main", pods.images.busybox, "sh", "-c", "head -c 3 /dev/mine | wc -c; ls -l /dev/mine")
    config.devices.add(host_path="/dev/zero", container_path="/dev/mine", permissions="rw")
    container = pods.create_from(pod, config)
    pods.client.start(container.id)
    assert pods.wait_for_exit(container).exit_code == 0
    assert container.text()[0] == "3"


def test_a_volume_with_mapped_owners(pods: Pods, tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    volume.mkdir()
    (volume / "given").write_text("x")
    os.chown(volume / "given", 1000, 1000)
    mapped = pb.Mount(container_path="/v", host_path=str(volume), uidMappings=_MAPPING, gidMappings=_MAPPING)
    plain = pb.Mount(container_path="/w", host_path=str(volume))
    pod = pods.run(users_config(pods))
    script = "stat -c %u /v /v/given /w; echo x > /v/made; stat -c %u /v/made; touch /w/no && echo wrote; true"
    lines = output(pods, pod, script, mounts=[mapped, plain])
    assert lines[:3] == ["0", "1000", "65534"]
    assert lines[3] == "0"
    assert "wrote" not in lines
    assert os.stat(volume / "made").st_uid == 0


def test_a_user_by_number(pods: Pods) -> None:
    pod = pods.run(users_config(pods))
    context = pb.LinuxContainerSecurityContext(run_as_user=pb.Int64Value(value=1000))
    container = pods.start(pod, security=context)
    assert f"Uid:\t{_HOST_ID + 1000}" in Path(f"/proc/{pid_of(pods, container)}/status").read_text()


def test_an_image_volume_belongs_to_the_pods_users(pods: Pods) -> None:
    mount = pb.Mount(container_path="/image", image=pb.ImageSpec(image=pods.images.busybox), readonly=True)
    pod = pods.run(users_config(pods))
    assert output(pods, pod, "stat -c %u /image/bin /image/bin/busybox", mounts=[mount]) == ["0", "0"]


def test_a_restarted_daemon_knows_the_pods_users(pods: Pods) -> None:
    pod = pods.run(users_config(pods))
    pods.start(pod)
    pods.daemon.restart()
    lines = output(pods, pod, "stat -c %u /bin; cat /proc/self/uid_map", name="later")
    assert lines[0] == "0"
    assert lines[1].split() == ["0", str(_HOST_ID), str(_SIZE)]


def test_two_containers_share_the_users(pods: Pods) -> None:
    pod = pods.run(users_config(pods))
    first, second = pods.start(pod), pods.start(pod, name="second")
    namespaces = {os.stat(f"/proc/{pid_of(pods, one)}/ns/user").st_ino for one in (first, second)}
    assert len(namespaces) == 1


def test_the_hosts_namespaces_do_not_go_with_it(pods: Pods) -> None:
    for name in ("network", "pid", "ipc"):
        config = users_config(pods)
        setattr(config.linux.security_context.namespace_options, name, pb.NODE)
        refused(lambda config=config: pods.run(config), grpc.StatusCode.INVALID_ARGUMENT, name)  # type: ignore[misc]


def test_it_is_promised(pods: Pods) -> None:
    reply = pods.client.runtime.Status(pb.StatusRequest())
    assert {handler.name: handler.features.user_namespaces for handler in reply.runtime_handlers}["coracle"]


def test_a_new_shim_takes_the_pods_users_over(pods: Pods) -> None:
    pod = pods.run(users_config(pods, pb.POD))
    shared = pb.LinuxContainerSecurityContext(namespace_options=pb.NamespaceOption(pid=pb.POD))
    first = pods.start(pod, security=shared)
    before = os.stat(f"/proc/{pid_of(pods, first)}/ns/user").st_ino
    (monitor,) = pods.daemon.monitors()
    os.kill(monitor, signal.SIGKILL)
    until(lambda: pods.daemon.monitors() not in ((), (monitor,)))
    second = pods.start(pod, name="second", security=shared)
    assert os.stat(f"/proc/{pid_of(pods, second)}/ns/user").st_ino == before


def test_both_die_and_the_pods_users_stay(pods: Pods) -> None:
    pod = pods.run(users_config(pods))
    first = pods.start(pod)
    before = os.stat(f"/proc/{pid_of(pods, first)}/ns/user").st_ino
    (monitor,) = pods.daemon.monitors()
    pods.daemon.kill()
    os.kill(monitor, signal.SIGKILL)
    pods.daemon.start()
    second = pods.start(pod, name="second")
    assert os.stat(f"/proc/{pid_of(pods, second)}/ns/user").st_ino == before


def test_privileged_is_privileged_over_the_pod_only(pods: Pods) -> None:
    config = users_config(pods)
    config.linux.security_context.privileged = True
    pod = pods.run(config)
    script = """
        mkdir /m; mount -t tmpfs none /m && echo mounted; hostname other && echo renamed
        head -c 1 /dev/zero | wc -c
        echo 3 > /proc/sys/vm/drop_caches 2>/dev/null && echo dropped
        echo b > /proc/sysrq-trigger 2>/dev/null && echo rebooted
        true
    """
    security = pb.LinuxContainerSecurityContext(privileged=True)
    container, ended = pods.run_to_end("sh", "-c", script, pod=pod, security=security)
    assert ended.exit_code == 0
    assert [text for stream, _, text in container.entries() if stream == "stdout"] == ["mounted", "renamed", "1"]


def test_declared_volumes_belong_to_the_pods_users(pods: Pods) -> None:
    pods.client.pull(pods.images.with_user)
    pod = pods.run(users_config(pods))
    for name, read_only in (("writable", False), ("read-only", True)):
        context = pb.LinuxContainerSecurityContext(readonly_rootfs=read_only, run_as_user=pb.Int64Value(value=0))
        lines = output(
            pods,
            pod,
            "stat -c %u /data; echo x > /data/x && cat /data/x",
            name=name,
            image=pods.images.with_user,
            security=context,
        )
        assert lines == ["0", "x"]
