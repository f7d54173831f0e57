"""Plugins of the Node Resource Interface and real containers: what they adjust is what runs."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message

from cri.api import runtime_pb2 as pb
from cri.nri.api import nri_pb2 as nri
from e2e.daemon import Daemon
from e2e.pods import refused, until
from tests.nri_plugin import FakePlugin, Handler, Refusal
from tests.system.pods import Pods


@pytest.fixture
def plugin(daemon: Daemon) -> Iterator[FakePlugin]:
    with FakePlugin(daemon.runroot / "nri.sock") as connected:
        in_service(daemon, connected)
        yield connected


def in_service(daemon: Daemon, plugin: FakePlugin) -> None:
    plugin.wait_for("Synchronize")
    until(lambda: f"{plugin.index}-{plugin.name}" in daemon.log.read_text().rpartition("in service")[2])


def adjusts(**fields: Any) -> Handler:
    return lambda _: nri.CreateContainerResponse(adjust=nri.ContainerAdjustment(**fields))


def test_a_container_runs_as_adjusted(pods: Pods, plugin: FakePlugin, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("from the plugin")
    plugin.handlers["CreateContainer"] = adjusts(
        args=[
            "sh",
            "-c",
            "echo $ADDED $GONE; cat /added/file; echo; cat /proc/self/oom_score_adj; ulimit -n; ls -l /dev/made",
        ],
        env=[nri.KeyValue(key="ADDED", value="yes"), nri.KeyValue(key="-GONE")],
        mounts=[nri.Mount(destination="/added", type="bind", source=str(tmp_path), options=["rbind", "ro"])],
        rlimits=[nri.POSIXRlimit(type="RLIMIT_NOFILE", hard=77, soft=77)],
        linux=nri.LinuxContainerAdjustment(
            oom_score_adj=nri.OptionalInt(value=321),
            devices=[nri.LinuxDevice(path="/dev/made", type="c", major=1, minor=3)],
        ),
    )
    container, ended = pods.run_to_end("false", env={"GONE": "still here"})
    assert ended.exit_code == 0, container.log.read_text()
    greeting, file, score, limit, device = container.text()
    assert (greeting, file, score, limit) == ("yes", "from the plugin", "321", "77")
    assert device.startswith("c")
    assert "1,   3" in device


def test_limits_are_set_and_shown(pods: Pods, plugin: FakePlugin) -> None:
    def limited(limit: int) -> nri.LinuxResources:
        return nri.LinuxResources(memory=nri.LinuxMemory(limit=nri.OptionalInt64(value=limit)))

    plugin.handlers["CreateContainer"] = adjusts(linux=nri.LinuxContainerAdjustment(resources=limited(64 << 20)))
    container = pods.start(pods.run())

    def shown() -> int:
        return pods.client.status(container.id).resources.linux.memory_limit_in_bytes

    assert shown() == 64 << 20
    update = nri.ContainerUpdate(container_id=container.id, linux=nri.LinuxContainerUpdate(resources=limited(48 << 20)))
    assert not plugin.update(update).failed
    assert shown() == 48 << 20
    plugin.handlers["UpdateContainer"] = lambda _: nri.UpdateContainerResponse(
        update=[
            nri.ContainerUpdate(container_id=container.id, linux=nri.LinuxContainerUpdate(resources=limited(32 << 20)))
        ]
    )
    pods.client.runtime.UpdateContainerResources(
        pb.UpdateContainerResourcesRequest(
            container_id=container.id, linux=pb.LinuxContainerResources(memory_limit_in_bytes=96 << 20)
        )
    )
    assert shown() == 32 << 20
    plugin.wait_for("PostUpdateContainer")


def test_a_seccomp_policy_holds_for_the_container_and_for_exec(pods: Pods, plugin: FakePlugin) -> None:
    plugin.handlers["CreateContainer"] = adjusts(
        linux=nri.LinuxContainerAdjustment(
            seccomp_policy=nri.LinuxSeccomp(
                default_action="SCMP_ACT_ALLOW",
                syscalls=[nri.LinuxSyscall(names=["mkdir", "mkdirat"], action="SCMP_ACT_ERRNO")],
            )
        )
    )
    container = pods.start(pods.run())
    assert pods.client.exec(container.id, "mkdir", "/tmp/x").exit_code != 0
    assert pods.client.exec(container.id, "true").exit_code == 0


def test_a_cgroup_of_the_plugins_choice_is_used_and_removed(pods: Pods, plugin: FakePlugin) -> None:
    path = f"{pods.cgroup}/chosen"
    plugin.handlers["CreateContainer"] = adjusts(linux=nri.LinuxContainerAdjustment(cgroups_path=path))
    container = pods.start(pods.run())
    info = json.loads(
        pods.client.runtime.ContainerStatus(pb.ContainerStatusRequest(container_id=container.id, verbose=True)).info[
            "info"
        ]
    )
    assert path in Path(f"/proc/{info['pid']}/cgroup").read_text()


def test_a_refusal_fails_the_call_with_the_plugins_words(pods: Pods, plugin: FakePlugin) -> None:
    def no(_: Message) -> Message:
        raise Refusal("the node is full")

    pod = pods.run()
    plugin.handlers["CreateContainer"] = no
    refused(lambda: pods.create(pod, "true"), grpc.StatusCode.UNKNOWN, "10-test", "the node is full")
    assert pods.client.containers() == []
    plugin.handlers["RunPodSandbox"] = no
    refused(pods.run, grpc.StatusCode.UNKNOWN, "the node is full")
    assert [sandbox.id for sandbox in pods.client.pods()] == [pod.id]


def test_a_plugin_sees_the_pod_of_a_network_and_the_end_of_a_container(pods: Pods, plugin: FakePlugin) -> None:
    pod = pods.run()
    container, _ = pods.run_to_end("sh", "-c", "exit 3", pod=pod)
    plugin.wait_for("StopContainer")
    stopped = plugin.of("StopContainer", nri.StopContainerRequest)[0]
    assert (stopped.container.id, stopped.container.exit_code) == (container.id, 3)
    assert list(stopped.container.args) == ["sh", "-c", "exit 3"]
    assert list(stopped.pod.ips) == [pods.client.pod_status(pod.id).network.ip]
    assert os.path.exists(stopped.pod.linux.namespaces[0].path)


def test_what_a_late_plugin_is_shown_after_a_restart(pods: Pods) -> None:
    container = pods.start(pods.run())
    pods.daemon.restart()
    with FakePlugin(pods.daemon.runroot / "nri.sock") as late:
        late.wait_for("Synchronize")
        shown = late.of("Synchronize", nri.SynchronizeRequest)[0].containers
        assert [(one.id, one.state) for one in shown] == [(container.id, nri.CONTAINER_RUNNING)]


def test_a_plugin_that_hangs_delays_a_pod_once(pods: Pods, plugin: FakePlugin) -> None:
    def hang(_: Message) -> None:
        threading.Event().wait(60)

    plugin.handlers["RunPodSandbox"] = hang
    pods.run()
    assert plugin.closed.wait(10)
    pods.run()
    assert plugin.methods().count("RunPodSandbox") == 1
