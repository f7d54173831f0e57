from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oci import errors
from oci.protocol import failures, messages, packet
from oci.protocol.failures import ProtocolError
from oci.spec import Process

EVERY = [
    messages.ExecStarted(pid=1, pidfd=10, console_fd=11),
    messages.Hello(),
    messages.SandboxSetup(hostname="web", netns_path="/run/netns/x", sysctls={"net.ipv4.ip_forward": "1"}, ipc=False),
    messages.SandboxNamespaces(net_fd=10, uts_fd=11, init_pid=7, init_pidfd=12),
    messages.ContainerCreate(
        container_id="c", bundle="/b", rootfs_fd=10, mount_indexes=(1, 4), mount_fds=(11, 12), seccomp_fd=13, stdin=True
    ),
    messages.ContainerHandles(pid=3, pidfd=10, stdout_fd=11, stderr_fd=12),
    messages.AdoptContainer(container_id="c", bundle="/b", started=True, pid=3, pidfd=10, console_fd=11),
    messages.Kill(container_id="c", signal=9, exec_id="e"),
    messages.Resize(container_id="c", width=80, height=24),
    messages.ExecStart(
        container_id="c", exec_id="e", process=Process(cwd="/", args=("a",), env=("K=\udcff",)), stdout_fd=10
    ),
    messages.ContainerExited(container_id="c", pid=3, status=256, finished_at=1 << 60, oom_kills=2),
    messages.ShimState(
        sandbox_id="s",
        pid=2,
        net_fd=10,
        containers=(
            messages.ContainerState(
                container_id="c",
                pid=3,
                state="exited",
                bundle="/b",
                exit=messages.ContainerExited(container_id="c", pid=3, status=9, finished_at=5),
            ),
        ),
        execs=(messages.ExecState(container_id="c", exec_id="e", pid=4),),
    ),
]


@pytest.mark.parametrize("message", EVERY, ids=lambda message: message.KIND)
def test_round_trip(message: messages.Message) -> None:
    data, fds = packet.pack(7, message)
    assert packet.unpack(data, fds) == packet.Packet(7, message)


def test_descriptors_arrive_under_the_receivers_numbers() -> None:
    sent = messages.ContainerCreate(
        container_id="c", bundle="/b", mount_indexes=(0, 1), mount_fds=(50, 60), seccomp_fd=70
    )
    data, fds = packet.pack(1, sent)
    assert fds == (50, 60, 70)
    received = packet.unpack(data, (3, 4, 5)).message
    assert isinstance(received, messages.ContainerCreate)
    assert (received.rootfs_fd, received.mount_fds, received.seccomp_fd) == (None, (3, 4), 5)


def test_every_kind_is_unique() -> None:
    kinds = [cls.KIND for cls in messages.MESSAGES]
    assert len(set(kinds)) == len(kinds)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"1 hello 1 -",
        b"1 hello 1\n{}",
        b"1 hello 1 - -\n{}",
        b"1 hello -1 -\n{}",
        b"1 hello x -\n{}",
        b"2 hello 1 -\n{}",
        b"1 nonsense 1 -\n{}",
        b"1 \xff 1 -\n{}",
        b"1 hello 1 -\n",
        b"1 hello 1 -\n[]",
        b"1 hello 1 -\n{",
        b"1 hello 1 -\n{} ",
        b"1 hello 1 -\n\xff",
        b'1 kill 1 c\n{"containerID":"c"}',
        b'1 start 1 c\n{"containerID":7}',
        b'1 start 1 c\n{"containerID":"d"}',
        b'1 exec_started 1 -\n{"pid":1,"pidfd":0,"consoleFd":0}',
        b'1 exec_started 1 -\n{"pid":1,"pidfd":0,"consoleFd":true}',
        b'1 exec_started 1 -\n{"pid":1,"pidfd":-1,"consoleFd":0}',
        b"1 hello 1 -\n" + b"[" * 100_000,
    ],
)  # fmt: skip
def test_malformed_packet_is_an_error(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        packet.unpack(data, (3,))


def test_descriptor_that_nothing_names_is_an_error() -> None:
    data, _ = packet.pack(1, messages.Hello())
    with pytest.raises(ProtocolError, match="1 descriptors came"):
        packet.unpack(data, (3,))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 300) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=10,
)


@given(
    kind=st.sampled_from([cls.KIND for cls in messages.MESSAGES]),
    names=st.lists(st.sampled_from(["containerID", "pid", "pidfd", "stdoutFd", "mountFds", "process", "signal"])),
    values=st.lists(json_values, min_size=7, max_size=7),
    fds=st.lists(st.integers(3, 9), unique=True, max_size=3),
)
def test_any_document_is_understood_or_refused(
    kind: str, names: list[str], values: list[object], fds: list[int]
) -> None:
    body = dict(zip(names, values, strict=False))
    data = b"1 %b 1 c\n%b" % (kind.encode(), json.dumps(body).encode())
    try:
        packet.unpack(data, tuple(fds))
    except ProtocolError:
        pass


@given(st.binary(max_size=60))
def test_any_bytes_are_understood_or_refused(data: bytes) -> None:
    try:
        packet.unpack(data, ())
    except ProtocolError:
        pass


@pytest.mark.parametrize("key", ["", "a b", "a\nb", "%d", "x" * 256, "\u00e9"])
def test_id_that_cannot_stand_in_a_line(key: str) -> None:
    with pytest.raises(ProtocolError, match="is no id"):
        packet.pack(1, messages.Start(container_id=key))
    with pytest.raises(ProtocolError, match="is no id"):
        packet.pack(1, messages.Kill(container_id="c", exec_id=key, signal=9))


def test_cheap_packets_are_the_real_ones() -> None:
    assert packet.unpack(packet.pack_done(77), ()) == packet.Packet(77, messages.Done())
    event = packet.exec_exited_template("c", "e", 5) % (256, 1 << 60)
    expected = messages.ExecExited(container_id="c", exec_id="e", pid=5, status=256, finished_at=1 << 60)
    assert packet.unpack(event, ()) == packet.Packet(0, expected)
    started = packet.pack_exec_started(4, 5, terminal=False)
    assert packet.unpack(started, (10,)) == packet.Packet(4, messages.ExecStarted(pid=5, pidfd=10))
    started = packet.pack_exec_started(4, 5, terminal=True)
    expected_start = messages.ExecStarted(pid=5, pidfd=10, console_fd=11)
    assert packet.unpack(started, (10, 11)) == packet.Packet(4, expected_start)


def test_line() -> None:
    data, _ = packet.pack(12, messages.Start(container_id="abc"))
    assert packet.split(data) == (b"start", 12, "abc")
    data, _ = packet.pack(12, messages.Kill(container_id="abc", exec_id="d.e", signal=9))
    assert packet.split(data) == (b"kill", 12, "abc/d.e")


def test_too_many_descriptors_is_an_error() -> None:
    message = messages.ContainerCreate(container_id="c", bundle="/b", mount_fds=tuple(range(254)))
    with pytest.raises(ProtocolError, match="254 descriptors"):
        packet.pack(1, message)


@pytest.mark.parametrize("data", [b"spill ", b"spill x", b"spill -1", b"spill 0", b"spill 99999999", b"spill 1 "])
def test_announcement_of_an_odd_size_is_an_error(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        packet.spill_size(data)


def test_announcement() -> None:
    assert packet.spill_size(packet.pack_spill(40_000)) == 40_000
    assert packet.spill_size(b"1 done 1 -") is None


@pytest.mark.parametrize(
    "error",
    [
        errors.SpecError("linux.x", "is bad"),
        errors.ContainerError("exec /bin/nope", 2, "No such file or directory"),
        errors.HookError("prestart", 3, "/hook", "exit code 1"),
        errors.CgroupError("/a", "is busy", 16),
        errors.StateError("c", "is running"),
        errors.ContainerNotFound("c"),
        errors.ContainerExists("c"),
        errors.Unsupported("idmapped mounts", "old kernel"),
        errors.UserLookupError("bob", "does not exist"),
        ProtocolError("odd"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_cross_the_wire_whole(error: Exception) -> None:
    data, _ = packet.pack(1, failures.from_exception(error))
    failure = packet.unpack(data, ()).message
    assert isinstance(failure, failures.Failure)
    copy = failures.to_exception(failure)
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)


def test_os_error_keeps_number_and_name() -> None:
    copy = failures.to_exception(failures.from_exception(FileNotFoundError(2, "No such file", "/x")))
    assert isinstance(copy, FileNotFoundError)
    assert (copy.errno, copy.strerror, copy.filename) == (2, "No such file", "/x")


def test_unforeseen_error_arrives_as_a_fault() -> None:
    copy = failures.to_exception(failures.from_exception(ZeroDivisionError("division by zero")))
    assert isinstance(copy, failures.PeerFault)
    assert str(copy) == "shim failed unexpectedly: ZeroDivisionError: division by zero"


@pytest.mark.parametrize(
    ("status", "code"), [(0, 0), (1 << 8, 1), (255 << 8, 255), (9, 137), (15, 143), (0x80 | 6, 134)]
)
def test_exit_code(status: int, code: int) -> None:
    assert messages.exit_code(status) == code
