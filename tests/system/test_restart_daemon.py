"""SIGKILL to the daemon, the launcher, a shim: containers run on, nothing is forgotten, exit codes are real."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

from cri.api import runtime_pb2 as pb
from e2e.pods import until
from tests.system.pods import Pods

COUNT = ("sh", "-c", "i=0; while :; do i=$((i+1)); echo $i; sleep 0.01; done")


def numbers_are_whole(text: list[str]) -> bool:
    return [int(line) for line in text] == list(range(1, len(text) + 1))


def test_a_killed_daemon_finds_every_pod_and_container_again(pods: Pods) -> None:
    pod, stopped = pods.run(), pods.run()
    running = pods.start(pod, name="running")
    created = pods.create(pod, "true", name="created")
    ended, _ = pods.run_to_end("sh", "-c", "exit 3", pod=pod, name="ended")
    pods.client.stop_pod(stopped.id)
    address = pods.client.pod_status(pod.id).network.ip
    before = {one.id: pods.client.status(one.id) for one in (running, created, ended)}

    pods.daemon.restart()

    assert {one.id: one.state for one in pods.client.pods()} == {
        pod.id: pb.PodSandboxState.SANDBOX_READY,
        stopped.id: pb.PodSandboxState.SANDBOX_NOTREADY,
    }
    assert {one.id: pods.client.status(one.id) for one in (running, created, ended)} == before
    assert pods.client.pod_status(pod.id).network.ip == address
    assert pods.client.exec(running.id, "echo", "still here").stdout == b"still here\n"
    pods.client.start(created.id)
    assert pods.wait_for_exit(created).exit_code == 0
    pods.client.stop(running.id)
    assert pods.client.status(running.id).exit_code == 0


def test_a_log_has_no_gap_while_the_daemon_is_away(pods: Pods) -> None:
    container = pods.start(pods.run(), *COUNT)
    pods.wait_for_line(container, "stdout F 10")
    pods.daemon.kill()
    size = container.log.stat().st_size
    until(lambda: container.log.stat().st_size > size + 500)
    pods.daemon.start()
    pods.wait_for_line(container, f"stdout F {len(container.text()) + 20}")
    pods.client.stop(container.id, timeout=0)
    assert numbers_are_whole(container.text())


def test_a_container_that_exits_while_the_daemon_is_away_shows_its_real_code(pods: Pods, tmp_path: Path) -> None:
    mounts = [pb.Mount(container_path="/gate", host_path=str(tmp_path))]
    script = "echo waiting; while [ ! -e /gate/open ]; do sleep 0.05; done; echo leaving; exit 42"
    pod = pods.run()
    container = pods.start(pod, "sh", "-c", script, mounts=mounts)
    pods.wait_for_line(container, "waiting")
    pods.daemon.kill()
    (tmp_path / "open").touch()
    pods.wait_for_line(container, "leaving")
    pods.daemon.start()
    status = pods.wait_for_exit(container)
    assert (status.exit_code, status.reason) == (42, "Error")


def test_an_out_of_memory_kill_is_told_even_when_the_daemon_was_away(pods: Pods, tmp_path: Path) -> None:
    mounts = [pb.Mount(container_path="/gate", host_path=str(tmp_path))]
    limits = pb.LinuxContainerResources(memory_limit_in_bytes=15 << 20, memory_swap_limit_in_bytes=15 << 20)
    script = "echo waiting; while [ ! -e /gate/open ]; do sleep 0.05; done; exec dd if=/dev/zero of=/dev/null bs=20M"
    container = pods.start(pods.run(), "sh", "-c", script, mounts=mounts, resources=limits)
    pods.wait_for_line(container, "waiting")
    init = _host_pid(pods, container.id)
    pods.daemon.kill()
    (tmp_path / "open").touch()
    until(lambda: not Path(f"/proc/{init}").exists())
    pods.daemon.start()
    status = pods.wait_for_exit(container)
    assert (status.exit_code, status.reason) == (137, "OOMKilled")


def test_a_pod_can_be_removed_after_a_restart(pods: Pods) -> None:
    pod = pods.run()
    pods.start(pod)
    pods.daemon.restart()
    pods.client.stop_pod(pod.id)
    pods.client.remove_pod(pod.id)
    assert pods.client.pods() == []
    assert pods.daemon.monitors() == ()


def test_a_gentle_stop_leaves_pods_running(pods: Pods) -> None:
    container = pods.start(pods.run(), *COUNT)
    pods.daemon.stop()
    size = container.log.stat().st_size
    until(lambda: container.log.stat().st_size > size)
    pods.daemon.start()
    assert pods.client.status(container.id).state == pb.ContainerState.CONTAINER_RUNNING
    pods.client.stop(container.id, timeout=0)
    assert numbers_are_whole(container.text())


def test_images_survive_a_restart(pods: Pods) -> None:
    before = pods.client.images.ListImages(pb.ListImagesRequest()).images
    pods.daemon.restart()
    assert pods.client.images.ListImages(pb.ListImagesRequest()).images == before


def test_a_killed_launcher_is_not_noticed(pods: Pods) -> None:
    pod = pods.run()
    container = pods.start(pod, *COUNT)
    os.kill(pods.daemon.launcher_pid(), signal.SIGKILL)
    assert pods.client.exec(container.id, "true").exit_code == 0
    another = pods.run()
    pods.start(another, name="new")
    pods.start(pod, name="beside")
    pods.client.stop(container.id, timeout=0)
    assert numbers_are_whole(container.text())


def test_a_killed_shims_containers_run_on_and_obey(pods: Pods) -> None:
    pod = pods.run()
    container = pods.start(pod, *COUNT)
    obedient = pods.start(pod, name="obedient")
    pods.wait_for_line(container, "stdout F 10")
    shim = pods.daemon.shim_pid(pod.id)
    os.kill(shim, signal.SIGKILL)
    until(lambda: pods.daemon.monitors() not in ((), (shim,)))

    assert pods.client.pod_status(pod.id).state == pb.PodSandboxState.SANDBOX_READY
    until(lambda: pods.client.exec(container.id, "echo", "adopted").stdout == b"adopted\n")
    lines = len(container.text())
    pods.wait_for_line(container, f"stdout F {lines + 20}")
    assert pods.client.status(container.id).state == pb.ContainerState.CONTAINER_RUNNING
    pods.client.stop(obedient.id, timeout=10)
    assert pods.client.status(obedient.id).state == pb.ContainerState.CONTAINER_EXITED
    pods.client.stop(container.id, timeout=0)
    assert pods.client.status(container.id).state == pb.ContainerState.CONTAINER_EXITED
    text = [int(line) for line in container.text()]
    assert text == sorted(set(text)), "no line came twice"


def test_a_pod_whose_shim_and_daemon_both_died_is_not_hidden(pods: Pods) -> None:
    pod = pods.run()
    container = pods.start(pod)
    shim = pods.daemon.shim_pid(pod.id)
    pods.daemon.kill()
    os.kill(shim, signal.SIGKILL)
    pods.daemon.start()
    assert [one.id for one in pods.client.pods()] == [pod.id]
    assert [one.id for one in pods.client.containers()] == [container.id]
    pods.client.stop_pod(pod.id)
    assert pods.client.status(container.id).state == pb.ContainerState.CONTAINER_EXITED
    pods.client.remove_pod(pod.id)


def test_two_daemons_cannot_share_a_root(pods: Pods) -> None:
    second = subprocess.run(pods.daemon.command(), capture_output=True, text=True, timeout=30, check=False)
    assert second.returncode == 1
    assert str(pods.daemon.root) in second.stderr or str(pods.daemon.runroot) in second.stderr
    assert pods.client.ready()


def _host_pid(pods: Pods, container: str) -> int:
    """The container's first process, as the host sees it: the one that sees the same marker in its environment."""
    marker = pods.client.exec(container, "readlink", "/proc/1/ns/pid").stdout.decode().strip()
    candidates = [
        int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit() and _namespace(entry) == marker
    ]
    return min(candidates)


def _namespace(process: Path) -> str:
    try:
        return os.readlink(process / "ns" / "pid")
    except OSError:
        return ""
