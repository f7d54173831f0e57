"""Pods whose RuntimeClass names another OCI runtime: Debian's runc and crun, by the same shim."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest

from cri.api import runtime_pb2 as pb
from e2e.client import container_config
from e2e.daemon import Daemon
from e2e.images.catalog import ImageNames
from e2e.pods import Container, Pod, refused, until
from tests.streaming_client import open_command
from tests.system.pods import Pods

_RUNTIMES = {name: shutil.which(name) for name in ("runc", "crun")}


@pytest.fixture(scope="module")
def daemon(make_daemon: Callable[..., Daemon], images: ImageNames, tmp_path_factory: pytest.TempPathFactory) -> Daemon:
    config = tmp_path_factory.mktemp("handlers") / "coracle.toml"
    tables = [f'[runtime.handlers.{name}]\npath = "{path}"\n' for name, path in _RUNTIMES.items() if path]
    config.write_text("".join([*tables, '[runtime.handlers.absent]\npath = "/nonexistent/runtime"\n']))
    started = make_daemon(env={"CORACLE_CONFIG": str(config)})
    started.client.pull(images.busybox)
    return started


@pytest.fixture(params=_RUNTIMES)
def handler(request: pytest.FixtureRequest) -> str:
    name = str(request.param)
    if _RUNTIMES[name] is None:
        pytest.skip(f"{name} is not installed")
    if name == "crun" and (stray := _directories_without_a_hierarchy()):
        pytest.skip(f"crun takes {', '.join(stray)} for cgroups and leaves plain files there: nothing is mounted there")
    return name


def _directories_without_a_hierarchy() -> list[str]:
    """Where a v1 hierarchy that the kernel names would be mounted, and somebody has made a plain directory."""
    names = [line.split(":")[1] for line in Path("/proc/self/cgroup").read_text().splitlines()]
    places = [f"/sys/fs/cgroup/{name}" for name in names if name and not name.startswith("name=")]
    return [place for place in places if os.path.isdir(place) and not os.path.ismount(place)]


def pod_of(pods: Pods, handler: str, **settings: object) -> Pod:
    config = pods.config(**settings)
    answer = pods.client.runtime.RunPodSandbox(pb.RunPodSandboxRequest(config=config, runtime_handler=handler))
    pods._made.append(answer.pod_sandbox_id)
    return Pod(id=answer.pod_sandbox_id, config=config, logs=Path(config.log_directory))


def interactive(pods: Pods, handler: str, *, tty: bool) -> Container:
    config = container_config("main", pods.images.busybox, "sh")
    config.stdin, config.stdin_once, config.tty = True, True, tty
    container = pods.create_from(pod_of(pods, handler), config)
    pods.client.start(container.id)
    return container


def execute(pods: Pods, container: Container, *command: str, timeout: int = 0) -> pb.ExecSyncResponse:
    return pods.client.runtime.ExecSync(pb.ExecSyncRequest(container_id=container.id, cmd=command, timeout=timeout))


def mounts_of(container: str) -> list[str]:
    return [line for line in Path("/proc/self/mounts").read_text().splitlines() if container in line]


class TestContainer:
    def test_logs_and_exit_code(self, pods: Pods, handler: str) -> None:
        script = "echo out; echo err >&2; exit 7"
        container, ended = pods.run_to_end("sh", "-c", script, pod=pod_of(pods, handler))
        assert ended.exit_code == 7
        assert sorted(container.entries()) == [("stderr", "F", "err"), ("stdout", "F", "out")]
        pods.client.runtime.RemoveContainer(pb.RemoveContainerRequest(container_id=container.id))
        assert mounts_of(container.id) == []

    def test_the_runtime_has_it_in_its_books_and_its_cgroup_is_measured(self, pods: Pods, handler: str) -> None:
        container = pods.start(pod_of(pods, handler))
        assert (pods.daemon.runroot / "handlers" / handler / container.id).is_dir()
        request = pb.ContainerStatsRequest(container_id=container.id)
        assert pods.client.runtime.ContainerStats(request).stats.memory.usage_bytes.value > 0
        pods.client.stop(container.id, timeout=0)
        pods.client.runtime.RemoveContainer(pb.RemoveContainerRequest(container_id=container.id))
        assert not (pods.daemon.runroot / "handlers" / handler / container.id).exists()

    def test_stop_by_signal(self, pods: Pods, handler: str) -> None:
        container = pods.start(pod_of(pods, handler))
        pods.client.stop(container.id, timeout=20)
        status = pods.client.status(container.id)
        assert (status.state, status.exit_code) == (pb.ContainerState.CONTAINER_EXITED, 0)

    def test_kill(self, pods: Pods, handler: str) -> None:
        container = pods.start(pod_of(pods, handler), "sleep", "3600")
        pods.client.stop(container.id, timeout=0)
        assert pods.client.status(container.id).exit_code == 128 + signal.SIGKILL

    def test_it_shares_the_pods_network_and_ipc(self, pods: Pods, handler: str) -> None:
        pod = pod_of(pods, handler)
        two = [pods.start(pod, name=name) for name in ("one", "two")]
        for kind in ("net", "ipc", "uts"):
            assert len({execute(pods, one, "readlink", f"/proc/self/ns/{kind}").stdout for one in two}) == 1
        own = os.readlink("/proc/self/ns/net").encode()
        assert execute(pods, two[0], "readlink", "/proc/self/ns/net").stdout.strip() != own
        status = pods.client.runtime.PodSandboxStatus(pb.PodSandboxStatusRequest(pod_sandbox_id=pod.id)).status
        assert status.network.ip.encode() in execute(pods, two[0], "ip", "address").stdout
        assert status.runtime_handler == handler

    def test_one_that_was_never_started_goes(self, pods: Pods, handler: str) -> None:
        container = pods.create(pod_of(pods, handler), "true")
        pods.client.runtime.RemoveContainer(pb.RemoveContainerRequest(container_id=container.id))
        assert mounts_of(container.id) == []

    def test_a_seccomp_profile_is_in_force(self, pods: Pods, handler: str) -> None:
        profile = pb.SecurityProfile(profile_type=pb.SecurityProfile.RuntimeDefault)
        security = pb.LinuxContainerSecurityContext(seccomp=profile)
        command = ("grep", "Seccomp:", "/proc/self/status")
        container, _ = pods.run_to_end(*command, pod=pod_of(pods, handler), security=security)
        assert container.text() == ["Seccomp:\t2"]

    def test_an_image_volume(self, pods: Pods, handler: str) -> None:
        mount = pb.Mount(container_path="/image", image=pb.ImageSpec(image=pods.images.busybox), readonly=True)
        script = "ls /image/bin/busybox; touch /image/x 2>/dev/null || echo read-only"
        container, _ = pods.run_to_end("sh", "-c", script, pod=pod_of(pods, handler), mounts=[mount])
        assert container.text() == ["/image/bin/busybox", "read-only"]
        pods.client.runtime.RemoveContainer(pb.RemoveContainerRequest(container_id=container.id))
        assert mounts_of(container.id) == []

    async def test_attach_and_stdin(self, pods: Pods, handler: str) -> None:
        container = interactive(pods, handler, tty=False)
        request = pb.AttachRequest(container_id=container.id, stdin=True, stdout=True, stderr=True)
        command = await open_command(pods.client.runtime.Attach(request).url, tty=False, stdin=True)
        assert command.stdin is not None
        assert command.stdout is not None
        await command.stdin.send(b"echo he''llo; exit 4\n")
        await command.stdout.until(b"hello\n")
        assert pods.wait_for_exit(container).exit_code == 4

    async def test_a_terminal(self, pods: Pods, handler: str) -> None:
        container = interactive(pods, handler, tty=True)
        request = pb.AttachRequest(container_id=container.id, stdin=True, stdout=True, tty=True)
        command = await open_command(pods.client.runtime.Attach(request).url, tty=True, stdin=True)
        assert command.stdin is not None
        assert command.stdout is not None
        await command.stdin.send(b"tty; exit 4\n")
        await command.stdout.until(b"/dev/")
        assert pods.wait_for_exit(container).exit_code == 4

    def test_a_user_namespace_is_refused(self, pods: Pods, handler: str) -> None:
        mapping = [pb.IDMapping(host_id=1 << 20, container_id=0, length=65536)]
        users = pb.UserNamespace(mode=pb.POD, uids=mapping, gids=mapping)
        config = pods.config()
        config.linux.security_context.namespace_options.userns_options.CopyFrom(users)
        request = pb.RunPodSandboxRequest(config=config, runtime_handler=handler)
        refused(lambda: pods.client.runtime.RunPodSandbox(request), grpc.StatusCode.INVALID_ARGUMENT, handler)

    def test_a_program_that_is_not_there(self, pods: Pods, handler: str) -> None:
        pod = pod_of(pods, handler)
        with pytest.raises(grpc.RpcError) as caught:
            pods.start(pod, "/no/such/program")
        assert "no such" in str(caught.value).lower()


class TestExec:
    async def test_in_a_terminal(self, pods: Pods, handler: str) -> None:
        container = pods.start(pod_of(pods, handler))
        script = ("sh", "-c", "tty; read x; echo got $x; exit 6")
        request = pb.ExecRequest(container_id=container.id, cmd=script, tty=True, stdin=True, stdout=True)
        command = await open_command(pods.client.runtime.Exec(request).url, tty=True, stdin=True)
        assert command.stdin is not None
        assert command.stdout is not None
        await command.stdin.send(b"word\n")
        assert await command.exit_code() == 6
        assert b"/dev/pts/" in command.stdout.received
        assert b"got word" in command.stdout.received

    def test_a_program_that_is_not_there(self, pods: Pods, handler: str) -> None:
        container = pods.start(pod_of(pods, handler))
        with pytest.raises(grpc.RpcError) as caught:
            execute(pods, container, "/no/such/program")
        assert "no such" in str(caught.value).lower()

    def test_output_and_exit_code(self, pods: Pods, handler: str) -> None:
        container = pods.start(pod_of(pods, handler))
        answer = execute(pods, container, "sh", "-c", "echo out; echo err >&2; exit 5")
        assert (answer.stdout, answer.stderr, answer.exit_code) == (b"out\n", b"err\n", 5)

    def test_many_that_end_at_once(self, pods: Pods, handler: str) -> None:
        container = pods.start(pod_of(pods, handler))
        assert [execute(pods, container, "true").exit_code for _ in range(10)] == [0] * 10

    def test_a_timeout_ends_the_process(self, pods: Pods, handler: str) -> None:
        container = pods.start(pod_of(pods, handler))
        refused(lambda: execute(pods, container, "sleep", "77", timeout=1), grpc.StatusCode.DEADLINE_EXCEEDED)
        until(lambda: b"sleep 77" not in execute(pods, container, "ps").stdout)


def test_a_restarted_daemon_goes_on(pods: Pods, handler: str) -> None:
    container = pods.start(pod_of(pods, handler))
    pods.daemon.restart()
    assert execute(pods, container, "echo", "there").stdout == b"there\n"
    pods.client.stop(container.id, timeout=20)
    assert pods.client.status(container.id).exit_code == 0


def test_a_new_shim_takes_over(pods: Pods, handler: str) -> None:
    pod = pod_of(pods, handler)
    container = pods.start(pod)
    old = pods.daemon.shim_pid(pod.id)
    os.kill(old, signal.SIGKILL)
    until(lambda: _served_anew(pods.daemon, pod.id, old))
    assert execute(pods, container, "echo", "there").stdout == b"there\n"
    pods.client.runtime.StopPodSandbox(pb.StopPodSandboxRequest(pod_sandbox_id=pod.id))
    pods.client.runtime.RemovePodSandbox(pb.RemovePodSandboxRequest(pod_sandbox_id=pod.id))
    assert mounts_of(container.id) == []


def _served_anew(daemon: Daemon, sandbox: str, old: int) -> bool:
    try:
        return daemon.shim_pid(sandbox) != old
    except LookupError:
        return False


def test_status_lists_the_handlers_and_promises_nothing_of_them(pods: Pods) -> None:
    listed = {one.name: one for one in pods.client.runtime.Status(pb.StatusRequest()).runtime_handlers}
    assert {"", "coracle", "absent", *(name for name, path in _RUNTIMES.items() if path)} == set(listed)
    features = listed["absent"].features
    assert (features.recursive_read_only_mounts, features.user_namespaces) == (False, False)


def test_a_runtime_that_is_not_installed_is_named(pods: Pods) -> None:
    pod = pod_of(pods, "absent")
    with pytest.raises(grpc.RpcError) as caught:
        pods.create(pod, "true")
    assert "/nonexistent/runtime" in str(caught.value)


def test_an_unknown_handler_is_refused(pods: Pods) -> None:
    refused(lambda: pod_of(pods, "gvisor"), grpc.StatusCode.INVALID_ARGUMENT, "gvisor")
