"""Exec, Attach and PortForward as a client of the CRI meets them: the URLs, what is refused, and what they lead to."""

from __future__ import annotations

import hashlib
import os
import socket

import grpc
import pytest

from cri.api import runtime_pb2 as pb
from e2e.client import container_config
from e2e.pods import Container, refused, until
from tests.streaming_client import PORT_FORWARD, Command, SpdyClient, UpgradeRefused, open_command
from tests.system.pods import Pods

carriers = pytest.mark.parametrize("websocket", [False, True], ids=["spdy", "websocket"])

_SPDY_LIMIT = 1000


def exec_url(pods: Pods, container: str, *command: str, tty: bool = False, stdin: bool = False) -> str:
    request = pb.ExecRequest(container_id=container, cmd=command, tty=tty, stdin=stdin, stdout=True, stderr=not tty)
    return pods.client.runtime.Exec(request, timeout=10).url


def attach_url(pods: Pods, container: str, *, tty: bool = False) -> str:
    request = pb.AttachRequest(container_id=container, tty=tty, stdin=True, stdout=True, stderr=not tty)
    return pods.client.runtime.Attach(request, timeout=10).url


def port_forward_url(pods: Pods, sandbox: str) -> str:
    return pods.client.runtime.PortForward(pb.PortForwardRequest(pod_sandbox_id=sandbox), timeout=10).url


async def execute(pods: Pods, container: Container, *command: str, websocket: bool = False) -> tuple[int, bytes]:
    opened = await open_command(exec_url(pods, container.id, *command), websocket=websocket)
    code = await opened.exit_code()
    assert opened.stdout is not None
    return code, bytes(opened.stdout.received)


@carriers
async def test_exec(pods: Pods, websocket: bool) -> None:
    pod = pods.run()
    container = pods.start(pod)
    said = await execute(pods, container, "sh", "-c", "hostname; exit 3", websocket=websocket)
    assert said == (3, f"{pod.config.hostname}\n".encode())


async def test_exec_in_a_terminal(pods: Pods) -> None:
    container = pods.start(pods.run())
    url = exec_url(pods, container.id, "sh", "-c", "tty; echo $TERM; read x; echo got $x", tty=True, stdin=True)
    command = await open_command(url, tty=True, stdin=True)
    assert command.stdin is not None
    assert command.stdout is not None
    await command.stdin.send(b"word\n")
    assert await command.exit_code() == 0
    assert b"/dev/pts/" in command.stdout.received
    assert b"xterm" in command.stdout.received
    assert b"got word" in command.stdout.received


async def test_much_data(pods: Pods) -> None:
    container = pods.start(pods.run())
    command = await open_command(exec_url(pods, container.id, "cat", stdin=True), stdin=True)
    assert command.stdin is not None
    assert command.stdout is not None
    sent, received = hashlib.sha256(), hashlib.sha256()
    command.stdout.take = received.update
    for _ in range(100):
        block = os.urandom(1_000_000)
        sent.update(block)
        await command.stdin.send(block)
    command.stdin.finish()
    assert await command.exit_code() == 0
    assert received.digest() == sent.digest()


async def test_a_url_is_good_once(pods: Pods) -> None:
    url = exec_url(pods, pods.start(pods.run()).id, "true")
    assert await (await open_command(url)).exit_code() == 0
    with pytest.raises(UpgradeRefused, match="404"):
        await SpdyClient.connect(url)


async def test_exec_after_the_daemon_was_restarted(pods: Pods) -> None:
    container = pods.start(pods.run())
    pods.daemon.restart()
    assert await execute(pods, container, "echo", "still there") == (0, b"still there\n")


async def attach(pods: Pods, container: str, *, tty: bool = False) -> Command:
    return await open_command(attach_url(pods, container, tty=tty), tty=tty, stdin=True)


def interactive(pods: Pods, *, tty: bool = False, stdin_once: bool = True) -> Container:
    pod = pods.run()
    config = container_config("main", pods.images.busybox, "sh")
    config.stdin, config.stdin_once, config.tty = True, stdin_once, tty
    container = pods.create_from(pod, config)
    pods.client.start(container.id)
    return container


async def test_attach(pods: Pods) -> None:
    container = interactive(pods)
    command = await attach(pods, container.id)
    assert command.stdin is not None
    assert command.stdout is not None
    await command.stdin.send(b"echo hello\n")
    await command.stdout.until(b"hello\n")
    command.stdin.finish()
    assert await command.exit_code() == 0
    assert pods.wait_for_exit(container).exit_code == 0
    assert container.text() == ["hello"]


async def test_attach_to_a_terminal(pods: Pods) -> None:
    container = interactive(pods, tty=True, stdin_once=False)
    command = await attach(pods, container.id, tty=True)
    assert command.stdin is not None
    assert command.stdout is not None
    await command.resize(91, 31)
    await command.stdin.send(b"stty size; exit 4\n")
    assert await command.exit_code() == 0
    assert b"31 91" in command.stdout.received
    assert pods.wait_for_exit(container).exit_code == 4


async def forwarded(pods: Pods, sandbox: str, port: int, *, tunnel: bool) -> bytes:
    url = port_forward_url(pods, sandbox)
    client = await (SpdyClient.through_websocket(url) if tunnel else SpdyClient.connect(url, PORT_FORWARD))
    error = await client.open(streamType="error", port=str(port), requestID="0")
    data = await client.open(streamType="data", port=str(port), requestID="0")
    await data.send(b"question\n")
    answer = await data.read_all() or await error.read_all()
    await client.close()
    return answer


@pytest.mark.parametrize("tunnel", [False, True], ids=["spdy", "websocket"])
async def test_port_forward(pods: Pods, tunnel: bool) -> None:
    pod = pods.run()
    server = pods.start(pod, "nc", "-l", "-p", "4321", "-e", "sh", "-c", "read x; echo answer to $x")
    until(lambda: b":4321" in pods.client.exec(server.id, "netstat", "-ltn").stdout)
    assert await forwarded(pods, pod.id, 4321, tunnel=tunnel) == b"answer to question\n"


async def test_port_forward_with_the_hosts_network(pods: Pods) -> None:
    pod = pods.run(pods.config(host_network=True))
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    assert b"Connection refused" in await forwarded(pods, pod.id, port, tunnel=False)


async def test_port_forward_where_nothing_listens(pods: Pods) -> None:
    pod = pods.run()
    assert b"port 4321" in await forwarded(pods, pod.id, 4321, tunnel=False)


def test_what_makes_no_sense_is_refused(pods: Pods) -> None:
    container = pods.start(pods.run())
    runtime = pods.client.runtime
    invalid, id = grpc.StatusCode.INVALID_ARGUMENT, container.id
    refused(lambda: runtime.Exec(pb.ExecRequest(container_id=id, stdout=True)), invalid, "cmd")
    refused(lambda: runtime.Exec(pb.ExecRequest(container_id=id, cmd=["true"])), invalid, "stdin")
    both = pb.ExecRequest(container_id=id, cmd=["true"], tty=True, stdout=True, stderr=True)
    refused(lambda: runtime.Exec(both), invalid, "tty")
    refused(lambda: runtime.Attach(pb.AttachRequest(container_id=id)), invalid, "stdin")
    refused(lambda: runtime.Attach(pb.AttachRequest(container_id=id, tty=True, stderr=True)), invalid, "tty")
    outside = pb.PortForwardRequest(pod_sandbox_id=container.id, port=[70000])
    refused(lambda: runtime.PortForward(outside), invalid, "70000")


def test_what_does_not_exist_or_run_is_refused(pods: Pods) -> None:
    runtime = pods.client.runtime
    missing, not_running = grpc.StatusCode.NOT_FOUND, grpc.StatusCode.FAILED_PRECONDITION
    nobody = "f" * 64
    refused(lambda: runtime.Exec(pb.ExecRequest(container_id=nobody, cmd=["true"], stdout=True)), missing, nobody)
    refused(lambda: runtime.Attach(pb.AttachRequest(container_id=nobody, stdout=True)), missing, nobody)
    refused(lambda: runtime.PortForward(pb.PortForwardRequest(pod_sandbox_id=nobody)), missing, nobody)
    pod = pods.run()
    container, _ = pods.run_to_end("true", pod=pod)
    ended = pb.ExecRequest(container_id=container.id, cmd=["true"], stdout=True)
    refused(lambda: runtime.Exec(ended), not_running, "not running")
    refused(lambda: runtime.Attach(pb.AttachRequest(container_id=container.id, stdout=True)), not_running)
    pods.client.stop_pod(pod.id)
    refused(lambda: runtime.PortForward(pb.PortForwardRequest(pod_sandbox_id=pod.id)), not_running)


def test_urls_that_nobody_uses_are_limited(pods: Pods) -> None:
    container = pods.start(pods.run())
    try:
        refused(
            lambda: [exec_url(pods, container.id, "true") for _ in range(_SPDY_LIMIT + 1)],
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            str(_SPDY_LIMIT),
        )
    finally:
        pods.daemon.restart()
