"""The streaming server on real shims and containers, without the rest of the daemon: exec, attach, port-forward."""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import json
import os
import socket
import struct
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

from cri.api import runtime_pb2 as pb
from cri.config.schema import StreamingSettings
from cri.live import LiveContainer, LivePod
from cri.paths import Paths
from cri.shims import ContainerExited, Launcher, SandboxSetup, Shim
from cri.state.machine import ContainerState, SandboxState
from cri.state.records import ContainerID, ContainerRecord, SandboxID, SandboxRecord
from cri.streaming.daemon_runtime import DaemonRuntime
from cri.streaming.server import StreamingServer
from cri.streaming.tickets import AttachTicket, ExecTicket, PortForwardTicket
from oci import syscalls
from tests.streaming_client import PORT_FORWARD, Command, SpdyClient, open_command
from tests.system.shim_pods import Pod, make_rootfs, pod, traces, until

if TYPE_CHECKING:
    from cri.daemon import Daemon

carriers = pytest.mark.parametrize("websocket", [False, True], ids=["spdy", "websocket"])

_SANDBOX = SandboxID("5" * 64)
_FOREVER = ("sh", "-c", "while :; do sleep 1000; done")


class Containers(dict[str, ContainerRecord]):
    def need(self, container_id: str) -> ContainerRecord:
        return self[container_id]


class Sandboxes:
    def need(self, sandbox_id: str) -> SandboxRecord:
        return SandboxRecord(id=SandboxID(sandbox_id), state=SandboxState.READY, config_bytes=b"", created_at=1)


@dataclass
class DaemonForStreams:
    """As much of a daemon as the streams need."""

    pod: Pod
    paths: Paths
    containers: Containers = field(default_factory=Containers)
    sandboxes: Sandboxes = field(default_factory=Sandboxes)
    live_containers: dict[str, LiveContainer] = field(default_factory=dict)
    pods: dict[str, LivePod] = field(default_factory=dict)

    async def shim_of(self, sandbox_id: str) -> Shim:
        return self.pod.shim

    def new_id(self) -> str:
        return os.urandom(32).hex()


@dataclass
class Streams:
    """A pod with a server in front of it."""

    pod: Pod
    daemon: DaemonForStreams
    server: StreamingServer

    async def run(
        self, name: str, *args: str, stdin: bool = False, stdin_once: bool = False, terminal: bool = False
    ) -> None:
        handles = await self.pod.run(name, *args, stdin=stdin, terminal=terminal)
        self.pod.handles.pop(name)  # the live container closes them
        live = self.daemon.live_containers[name] = LiveContainer(handles=handles)
        config = pb.ContainerConfig(stdin=stdin, stdin_once=stdin_once, tty=terminal)
        self.daemon.containers[name] = ContainerRecord(
            id=ContainerID(name),
            sandbox_id=_SANDBOX,
            state=ContainerState.RUNNING,
            config_bytes=config.SerializeToString(),
            created_at=1,
        )

        def exited(event: object) -> None:
            self.pod.events.append(event)  # type: ignore[arg-type]
            if isinstance(event, ContainerExited) and event.container_id == name:
                live.exited.set()

        self.pod.shim.listen(on_event=exited, on_lost=lambda: None)

    async def exec(
        self, name: str, *args: str, websocket: bool = False, tty: bool = False, stdin: bool = False
    ) -> Command:
        ticket = ExecTicket(container_id=name, args=args, tty=tty, stdin=stdin, stdout=True, stderr=not tty)
        return await open_command(self.server.url(ticket), websocket=websocket, tty=tty, stdin=stdin)

    async def attach(self, name: str, *, websocket: bool = False, tty: bool = False, stdin: bool = False) -> Command:
        ticket = AttachTicket(container_id=name, tty=tty, stdin=stdin, stdout=True, stderr=not tty)
        return await open_command(self.server.url(ticket), websocket=websocket, tty=tty, stdin=stdin)


@pytest.fixture(scope="module")
def rootfs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_rootfs(tmp_path_factory.mktemp("streams"))


@pytest.fixture
async def streams(rootfs: Path) -> AsyncIterator[Streams]:
    before = traces()
    launcher = Launcher()
    await launcher.start()
    setup = SandboxSetup(hostname="pod", netns_path=f"/run/netns/shimtest-{os.urandom(4).hex()}")
    async with pod(launcher, rootfs, setup) as made:
        daemon = DaemonForStreams(pod=made, paths=Paths(root=made.directory, runroot=made.directory))
        daemon.pods[_SANDBOX] = LivePod(shim=made.shim, namespaces=made.namespaces)
        server = await StreamingServer.open(StreamingSettings(), DaemonRuntime(cast("Daemon", daemon)))
        yield Streams(pod=made, daemon=daemon, server=server)
        await server.close()
        for live in daemon.live_containers.values():
            live.close()
    await launcher.close()
    await until(lambda: traces() == before)


@carriers
async def test_exec_with_pipes(streams: Streams, websocket: bool) -> None:
    await streams.run("c", *_FOREVER)
    command = await streams.exec("c", "sh", "-c", "echo out; echo err >&2; exit 5", websocket=websocket)
    assert await command.exit_code() == 5
    assert command.stdout is not None
    assert command.stderr is not None
    assert (bytes(command.stdout.received), bytes(command.stderr.received)) == (b"out\n", b"err\n")


@carriers
async def test_exec_with_a_terminal(streams: Streams, websocket: bool) -> None:
    await streams.run("c", *_FOREVER)
    script = "trap 'stty size; echo $TERM; exit 7' WINCH; echo ready; while :; do sleep 0.05; done"
    command = await streams.exec("c", "sh", "-c", script, websocket=websocket, tty=True, stdin=True)
    assert command.stdout is not None
    await command.stdout.until(b"ready")
    await command.resize(101, 33)
    assert await command.exit_code() == 7
    assert b"33 101\r\nxterm\r\n" in command.stdout.received


async def test_a_terminal_knows_its_size_from_the_start(streams: Streams) -> None:
    await streams.run("c", *_FOREVER)
    ticket = ExecTicket(container_id="c", args=("stty", "size"), tty=True, stdin=False, stdout=True, stderr=False)
    client = await SpdyClient.connect(streams.server.url(ticket))
    error = await client.open(streamType="error")
    resize = await client.open(streamType="resize")
    await resize.send(json.dumps({"Width": 77, "Height": 22}).encode())
    stdout = await client.open(streamType="stdout")
    await error.read_all()
    assert bytes(stdout.received) == b"22 77\r\n"
    await client.close()


async def test_a_terminal_hangs_up_with_its_client(streams: Streams) -> None:
    await streams.run("c", *_FOREVER)
    script = "trap 'echo hung up > /proc/1/fd/1; exit' HUP; echo ready; while :; do sleep 0.05; done"
    command = await streams.exec("c", "sh", "-c", script, tty=True, stdin=True)
    assert command.stdout is not None
    await command.stdout.until(b"ready")
    command.client.abort()
    await until(lambda: "hung up" in streams.pod.log("c").read_text())


async def test_input_ends_with_its_client(streams: Streams) -> None:
    await streams.run("c", *_FOREVER)
    script = "echo ready; cat; echo no more input > /proc/1/fd/1"
    command = await streams.exec("c", "sh", "-c", script, stdin=True)
    assert command.stdout is not None
    await command.stdout.until(b"ready")
    command.client.abort()
    await until(lambda: "no more input" in streams.pod.log("c").read_text())


async def test_a_command_that_does_not_exist(streams: Streams) -> None:
    await streams.run("c", *_FOREVER)
    command = await streams.exec("c", "/no/such/file")
    status = await command.status()
    assert status["reason"] == "InternalError"
    assert "/no/such/file" in str(status["message"])


@carriers
async def test_a_hundred_megabytes_there_and_back(streams: Streams, websocket: bool) -> None:
    await streams.run("c", *_FOREVER)
    command = await streams.exec("c", "cat", stdin=True, websocket=websocket)
    assert command.stdin is not None
    assert command.stdout is not None
    sent, received = hashlib.sha256(), hashlib.sha256()
    command.stdout.take = received.update
    block = os.urandom(1_000_000)
    for _ in range(100):
        sent.update(block)
        await command.stdin.send(block)
    command.stdin.finish()
    assert await command.exit_code() == 0
    assert received.hexdigest() == sent.hexdigest()


@carriers
async def test_attach_to_a_shell_whose_input_comes_once(streams: Streams, websocket: bool) -> None:
    await streams.run("c", "sh", stdin=True, stdin_once=True)
    command = await streams.attach("c", stdin=True, websocket=websocket)
    assert command.stdin is not None
    assert command.stdout is not None
    await command.stdin.send(b"echo hello\n")
    await command.stdout.until(b"hello\n")
    command.stdin.finish()
    assert await command.exit_code() == 0
    assert bytes(command.stdout.received) == b"hello\n"
    assert await streams.pod.exit_code("c") == 0


async def test_attach_to_a_terminal(streams: Streams) -> None:
    await streams.run("c", "sh", stdin=True, terminal=True)
    command = await streams.attach("c", tty=True, stdin=True)
    assert command.stdin is not None
    assert command.stdout is not None
    await command.resize(99, 44)
    await command.stdin.send(b"stty size; exit 3\n")
    assert await command.exit_code() == 0, "attaching went well, whatever the container's exit code"
    assert b"44 99" in command.stdout.received
    assert await streams.pod.exit_code("c") == 3


async def test_attached_clients_share_and_leave_alone(streams: Streams) -> None:
    await streams.run("c", "cat", stdin=True)
    one = await streams.attach("c", stdin=True)
    two = await streams.attach("c", stdin=True)
    assert one.stdin is not None
    assert one.stdout is not None
    assert two.stdin is not None
    assert two.stdout is not None
    # The status of the second says that it is attached: what comes now goes to both.
    await two.stdin.send(b"from two\n")
    await two.stdout.until(b"from two")
    await one.stdin.send(b"from one\n")
    await one.stdout.until(b"from one")
    await two.stdout.until(b"from one")
    one.client.abort()
    await two.stdin.send(b"again\n")
    await two.stdout.until(b"again")
    two.stdin.finish()
    assert await two.exit_code() == 0
    assert streams.pod.exit_of("c") is None


async def test_a_client_that_does_not_read_stalls_nobody(streams: Streams) -> None:
    """The container writes 20 MB and ends while its client reads nothing; the log has all of it."""
    await streams.run("c", "sh", "-c", "read go; yes 0123456789abcde | head -c 20000000", stdin=True)
    command = await streams.attach("c", stdin=True)
    assert command.stdin is not None
    command.client.pause()
    await command.stdin.send(b"go\n")
    assert await streams.pod.exit_code("c") == 0
    assert sum(len(line) + 1 for line in streams.pod.lines("c")) == 20_000_000
    command.client.resume()
    assert (await command.status())["status"] in ("Success", "Failure")
    assert command.stdout is not None
    assert len(command.stdout.received) < 20_000_000


def in_namespace(network_fd: int, work: Callable[[], socket.socket]) -> socket.socket:
    made: list[socket.socket] = []

    def enter() -> None:
        syscalls.setns(network_fd, syscalls.CLONE_NEWNET)
        made.append(work())

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    return made[0]


def listener(family: socket.AddressFamily) -> Callable[[], socket.socket]:
    def make() -> socket.socket:
        with socket.socket() as any_socket:  # lo is down in a new namespace
            request = struct.pack("16sh14x", b"lo", 1)
            fcntl.ioctl(any_socket, 0x8914, request)
        listening = socket.socket(family)
        listening.bind(("127.0.0.1" if family is socket.AF_INET else "::1", 4321))
        listening.listen()
        return listening

    return make


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6], ids=["ipv4", "ipv6"])
@pytest.mark.parametrize("tunnel", [False, True], ids=["spdy", "websocket"])
async def test_port_forward_into_the_pods_network(streams: Streams, family: socket.AddressFamily, tunnel: bool) -> None:
    network = streams.pod.namespaces.net_fd
    assert network is not None
    with in_namespace(network, listener(family)) as listening:
        listening.setblocking(False)
        url = streams.server.url(PortForwardTicket(sandbox_id=_SANDBOX))
        client = await (SpdyClient.through_websocket(url) if tunnel else SpdyClient.connect(url, PORT_FORWARD))
        error = await client.open(streamType="error", port="4321", requestID="0")
        data = await client.open(streamType="data", port="4321", requestID="0")
        accepted, _ = await asyncio.get_running_loop().sock_accept(listening)
        with accepted:
            await data.send(b"ping")
            assert await asyncio.get_running_loop().sock_recv(accepted, 10) == b"ping"
            await asyncio.get_running_loop().sock_sendall(accepted, b"pong")
            await data.until(b"pong")
            data.finish()
            assert await asyncio.get_running_loop().sock_recv(accepted, 10) == b""
        assert await data.read_all() == b"pong"
        assert await error.read_all() == b""
        await client.close()


async def test_a_port_of_the_host_is_none_of_the_pods(streams: Streams) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = str(listening.getsockname()[1])
        client = await SpdyClient.connect(streams.server.url(PortForwardTicket(sandbox_id=_SANDBOX)), PORT_FORWARD)
        error = await client.open(streamType="error", port=port, requestID="0")
        await client.open(streamType="data", port=port, requestID="0")
        assert f"port {port}".encode() in await error.read_all()
        await client.close()
