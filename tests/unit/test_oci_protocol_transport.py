from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator

import pytest

from oci.protocol import messages, packet, transport
from oci.protocol.failures import ProtocolError
from oci.spec import Process

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with left, right:
        before = open_descriptors()
        yield left, right
        assert open_descriptors() == before


def open_descriptors() -> set[str]:
    # The listing itself opens one descriptor, always the lowest free number: it is the same in both snapshots.
    return set(os.listdir("/proc/self/fd"))


def test_descriptors_are_received_close_on_exec(pair: Pair) -> None:
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    transport.send(pair[0], transport.prepare(5, messages.ExecStarted(pid=1, pidfd=writer)))
    os.close(writer)
    received = transport.receive(pair[1])
    assert received is not None
    assert received.id == 5
    assert isinstance(received.message, messages.ExecStarted)
    assert fcntl.fcntl(received.message.pidfd, fcntl.F_GETFD) & fcntl.FD_CLOEXEC
    os.write(received.message.pidfd, b"same pipe")
    assert os.read(reader, 100) == b"same pipe"
    transport.close_descriptors(received.message)
    os.close(reader)


def test_large_message_travels_in_a_memfd(pair: Pair) -> None:
    process = Process(cwd="/", args=("env",), env=tuple(f"NAME{i}={'v' * 1000}" for i in range(2000)))
    reader, writer = os.pipe()
    message = messages.ExecStart(container_id="c", exec_id="e", process=process, stdout_fd=writer)
    outgoing = transport.prepare(9, message)
    assert len(outgoing.data) < 100
    transport.send(pair[0], outgoing)
    outgoing.close()
    received = transport.receive(pair[1])
    assert received is not None
    assert isinstance(received.message, messages.ExecStart)
    assert received.message.process == process
    transport.close_descriptors(received.message)
    os.close(reader)
    os.close(writer)


def test_end_of_connection(pair: Pair) -> None:
    pair[0].shutdown(socket.SHUT_RDWR)
    assert transport.receive(pair[1]) is None


def test_message_beyond_the_limit_is_refused_before_it_is_sent() -> None:
    process = Process(cwd="/", env=("x" * packet.SPILL_LIMIT,))
    with pytest.raises(ProtocolError, match="the limit is"):
        transport.prepare(1, messages.ExecStart(container_id="c", exec_id="e", process=process))


@pytest.mark.parametrize("data", [b"nonsense", b"spill 10", b"x" * (packet.INLINE_LIMIT + 1)])
def test_bad_packet_leaks_no_descriptor(pair: Pair, data: bytes) -> None:
    reader, writer = os.pipe()
    transport.send(pair[0], transport.Outgoing(data, (reader, writer)))
    os.close(reader)
    os.close(writer)
    with pytest.raises((ProtocolError, OSError)):
        transport.receive(pair[1])


def test_kept_packet_outlives_the_senders_descriptors(pair: Pair) -> None:
    reader, writer = os.pipe()
    kept = transport.prepare(1, messages.ExecStarted(pid=1, pidfd=writer)).keep()
    os.close(writer)
    transport.send(pair[0], kept)
    kept.close()
    received = transport.receive(pair[1])
    assert received is not None
    transport.close_descriptors(received.message)
    assert os.read(reader, 1) == b""
    os.close(reader)
