"""What the daemon and the shims say to each other: one frozen value per message. Pure.

A message is a dataclass with a `KIND` (its name on the wire) and `FDS`: the names of its fields that hold descriptors
(an int, or a tuple of ints). `oci.protocol.packet` turns it into JSON with the descriptors beside it and back; the
field types are checked by `oci.spec.codec`, so they are written in the words that module knows.

    daemon -> shim       Hello                             -> ShimState
                         SandboxSetup | AdoptSandbox       -> SandboxNamespaces
                         ContainerCreate | AdoptContainer  -> ContainerHandles
                         ContainerRef (handles)            -> ContainerHandles
                         ExecStart                         -> ExecStarted
                         Start, Kill, Delete, Checkpoint, ReopenLog, Resize, CloseStdin, Attach, Shutdown -> Done
                         anything                          -> Failure (oci.protocol.failures)
    shim -> daemon       ContainerExited, ExecExited, InitExited, LogDropped: events, unasked and unanswered

Times are nanoseconds since the epoch. `status` is always a wait status as waitpid(2) gives it; `exit_code` turns it
into what a shell would show. A descriptor in a message belongs to the receiver from the moment it is received.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import ClassVar, Final, Protocol, TypeAlias

from oci.spec import IdMapping, Process
from oci.spec.codec import I64, U64
from oci.values import fresh, frozen

UNKNOWN_STATUS: Final = 255 << 8
"""Wait status of a process whose real one was lost with its shim."""


class Message(Protocol):
    KIND: ClassVar[str]
    FDS: ClassVar[tuple[str, ...]]


def exit_code(status: int) -> int:
    """The exit code of a wait status; 128 + N for a process killed by signal N."""
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


# --- sandbox -----------------------------------------------------------------------------------------------------


@frozen
class Hello:
    KIND: ClassVar[str] = "hello"
    FDS: ClassVar[tuple[str, ...]] = ()


@frozen
class SandboxSetup:
    """Which namespaces the pod gets; False means the host's. `netns_path` is where the network namespace is bound.

    `shared_pid` forks the pod's reaping init, pid 1 of a pid namespace that containers may join; `mount_label` is the
    SELinux label of its files. The mappings ask for a user namespace that owns all the others.
    """

    KIND: ClassVar[str] = "setup"
    FDS: ClassVar[tuple[str, ...]] = ()
    network: bool = True
    ipc: bool = True
    uts: bool = True
    shared_pid: bool = False
    mount_label: str = ""
    hostname: str | None = None
    domainname: str | None = None
    netns_path: str | None = None
    sysctls: Mapping[str, str] = fresh(default_factory=dict)
    uid_mappings: tuple[IdMapping, ...] = ()
    gid_mappings: tuple[IdMapping, ...] = ()


@frozen
class SandboxNamespaces:
    """Descriptors of the namespaces the pod owns (None: the host's) and of its init, if it has one."""

    KIND: ClassVar[str] = "namespaces"
    FDS: ClassVar[tuple[str, ...]] = ("net_fd", "ipc_fd", "uts_fd", "user_fd", "pid_fd", "init_pidfd")
    net_fd: int | None = None
    ipc_fd: int | None = None
    uts_fd: int | None = None
    user_fd: int | None = None
    pid_fd: int | None = None
    init_pidfd: int | None = None
    init_pid: int | None = None

    @property
    def pid_path(self) -> str | None:
        """Path of the shared pid namespace, for `linux.namespaces` of the pod's containers."""
        return None if self.init_pid is None else f"/proc/{self.init_pid}/ns/pid"


@frozen
class AdoptSandbox:
    """Makes a fresh shim the shim of a running pod: it enters the namespaces and watches the init."""

    KIND: ClassVar[str] = "adopt_sandbox"
    FDS: ClassVar[tuple[str, ...]] = SandboxNamespaces.FDS
    net_fd: int | None = None
    ipc_fd: int | None = None
    uts_fd: int | None = None
    user_fd: int | None = None
    pid_fd: int | None = None
    init_pidfd: int | None = None
    init_pid: int | None = None


@frozen
class Shutdown:
    """The shim kills the pod's init, unlinks its socket and exits; refused while a container is alive."""

    KIND: ClassVar[str] = "shutdown"
    FDS: ClassVar[tuple[str, ...]] = ()


# --- containers --------------------------------------------------------------------------------------------------


@frozen
class OciRuntime:
    """Another runtime's executable, and the directory of its own state."""

    path: str
    root: str


@frozen
class ContainerCreate:
    """`bundle` holds config.json; whether there is a terminal is said there (process.terminal).

    `rootfs_fd` is a detached mount; `mount_fds[i]` is the detached mount for spec.mounts[mount_indexes[i]];
    `seccomp_fd` is a file that holds a finished BPF program. Without `log_path` output is read and thrown away.
    The log takes `log_size_max` bytes for each file and `log_rate_limit` a second; 0 sets no limit.
    `stdin` asks for a pipe that the shim holds open; otherwise the container reads /dev/null.
    `new_pid` says of config.json that the container has a pid namespace of its own, no user namespace and no hooks: the
    process that is forked to read it can then become the init itself.
    With `runtime` that one runs the container instead of our executor. With `checkpoint` its processes come out of that
    directory of images, by the program `criu`; they wait for the start like any other.
    """

    KIND: ClassVar[str] = "create"
    FDS: ClassVar[tuple[str, ...]] = ("rootfs_fd", "mount_fds", "seccomp_fd")
    container_id: str
    bundle: str
    log_path: str | None = None
    log_size_max: U64 = 0
    log_rate_limit: U64 = 0
    stdin: bool = False
    cgroup_path: str | None = None
    runtime: OciRuntime | None = None
    checkpoint: str | None = None
    criu: str = "criu"
    new_pid: bool = False
    rootfs_fd: int | None = None
    mount_indexes: tuple[int, ...] = ()
    mount_fds: tuple[int, ...] = ()
    seccomp_fd: int | None = None


@frozen
class ContainerHandles:
    """Duplicates of what the shim holds: with them the container outlives the shim.

    With a terminal there is only `console_fd`, the pty's master, non-blocking; else stdout and stderr are read ends.
    Reading from them takes data away from the log: the daemon holds them and reads only when the shim is dead.
    """

    KIND: ClassVar[str] = "handles"
    FDS: ClassVar[tuple[str, ...]] = ("pidfd", "stdout_fd", "stderr_fd", "stdin_fd", "console_fd", "seccomp_fd")
    pid: int
    pidfd: int | None = None
    stdout_fd: int | None = None
    stderr_fd: int | None = None
    stdin_fd: int | None = None
    console_fd: int | None = None
    seccomp_fd: int | None = None


@frozen
class AdoptContainer:
    """A container of a shim that died; the descriptors are the daemon's `ContainerHandles`.

    The answer holds duplicates again, so the daemon closes the ones it sent as it does after every message.
    """

    KIND: ClassVar[str] = "adopt_container"
    FDS: ClassVar[tuple[str, ...]] = ContainerHandles.FDS
    container_id: str
    bundle: str
    started: bool
    log_path: str | None = None
    log_size_max: U64 = 0
    log_rate_limit: U64 = 0
    cgroup_path: str | None = None
    runtime: OciRuntime | None = None
    pid: int
    pidfd: int
    stdout_fd: int | None = None
    stderr_fd: int | None = None
    stdin_fd: int | None = None
    console_fd: int | None = None
    seccomp_fd: int | None = None


@frozen
class Handles:
    """Asks for a container's `ContainerHandles` once more."""

    KIND: ClassVar[str] = "get_handles"
    FDS: ClassVar[tuple[str, ...]] = ()
    container_id: str


@frozen
class Start:
    KIND: ClassVar[str] = "start"
    FDS: ClassVar[tuple[str, ...]] = ()
    container_id: str


@frozen
class Kill:
    """Signals the container's init, an exec'ed process of it (`exec_id`), or everything in its cgroup (`all`)."""

    KIND: ClassVar[str] = "kill"
    FDS: ClassVar[tuple[str, ...]] = ()
    container_id: str
    signal: int
    exec_id: str | None = None
    all: bool = False


@frozen
class Delete:
    """Forgets an exited container: drains and closes its log, kills what is left in its cgroup and removes that."""

    KIND: ClassVar[str] = "delete"
    FDS: ClassVar[tuple[str, ...]] = ()
    container_id: str


@frozen
class Checkpoint:
    """Writes a running container's processes to the directory `images` by the program `criu`; they go on afterwards.

    `timeout` limits the seconds it may take to stop them; 0: CRIU's own limit.
    """

    KIND: ClassVar[str] = "checkpoint"
    FDS: ClassVar[tuple[str, ...]] = ()
    container_id: str
    images: str
    criu: str
    timeout: U64 = 0


@frozen
class ReopenLog:
    KIND: ClassVar[str] = "reopen_log"
    FDS: ClassVar[tuple[str, ...]] = ()
    container_id: str


@frozen
class Resize:
    KIND: ClassVar[str] = "resize"
    FDS: ClassVar[tuple[str, ...]] = ()
    container_id: str
    exec_id: str | None = None
    width: int
    height: int


@frozen
class CloseStdin:
    """The shim gives up its write end: the container sees end of file once the daemon has closed its own."""

    KIND: ClassVar[str] = "close_stdin"
    FDS: ClassVar[tuple[str, ...]] = ()
    container_id: str


@frozen
class Attach:
    """Copies what the container writes from now on to the given write ends, until they break or the streams end.

    The shim never waits for them: a sink that has fallen more than `buffer` bytes behind is closed.
    """

    KIND: ClassVar[str] = "attach"
    FDS: ClassVar[tuple[str, ...]] = ("stdout_fd", "stderr_fd")
    container_id: str
    stdout_fd: int | None = None
    stderr_fd: int | None = None
    buffer: int = 1 << 20


# --- exec --------------------------------------------------------------------------------------------------------


@frozen
class ExecStart:
    """`exec_id` is the daemon's choice and unique in the pod. Missing stdio is /dev/null; a terminal replaces it."""

    KIND: ClassVar[str] = "exec"
    FDS: ClassVar[tuple[str, ...]] = ("stdin_fd", "stdout_fd", "stderr_fd")
    container_id: str
    exec_id: str
    process: Process
    stdin_fd: int | None = None
    stdout_fd: int | None = None
    stderr_fd: int | None = None


@frozen
class ExecStarted:
    KIND: ClassVar[str] = "exec_started"
    FDS: ClassVar[tuple[str, ...]] = ("pidfd", "console_fd")
    pid: int
    pidfd: int
    console_fd: int | None = None


# --- answers and events ------------------------------------------------------------------------------------------


@frozen
class Done:
    KIND: ClassVar[str] = "done"
    FDS: ClassVar[tuple[str, ...]] = ()


@frozen
class ContainerExited:
    """Also the exit record on disk. `oom_kills` counts the cgroup's out-of-memory kills over its whole life.

    `log_dropped`: as in `LogDropped`.
    """

    KIND: ClassVar[str] = "container_exited"
    FDS: ClassVar[tuple[str, ...]] = ()
    container_id: str
    pid: int
    status: int
    finished_at: I64
    oom_kills: U64 = 0
    log_dropped: U64 = 0

    @property
    def exit_code(self) -> int:
        return exit_code(self.status)

    @property
    def oom_killed(self) -> bool:
        return self.oom_kills > 0


@frozen
class ExecExited:
    KIND: ClassVar[str] = "exec_exited"
    FDS: ClassVar[tuple[str, ...]] = ()
    container_id: str
    exec_id: str
    pid: int
    status: int
    finished_at: I64


@frozen
class InitExited:
    """The pod's init died, and with it, by the kernel's hand, every process in the shared pid namespace."""

    KIND: ClassVar[str] = "init_exited"
    FDS: ClassVar[tuple[str, ...]] = ()
    pid: int
    status: int


@frozen
class LogDropped:
    """Bytes of the container's log that its limits have dropped so far, under this shim. Told every 10 s at most."""

    KIND: ClassVar[str] = "log_dropped"
    FDS: ClassVar[tuple[str, ...]] = ()
    container_id: str
    dropped: U64


ShimEvent: TypeAlias = ContainerExited | ExecExited | InitExited | LogDropped


@frozen
class ContainerState:
    """`state` is created, running or exited; `exit` is there in the last."""

    container_id: str
    pid: int
    state: str
    bundle: str
    log_path: str | None = None
    cgroup_path: str | None = None
    terminal: bool = False
    created_at: I64 = 0
    started_at: I64 = 0
    log_dropped: U64 = 0
    exit: ContainerExited | None = None


@frozen
class ExecState:
    container_id: str
    exec_id: str
    pid: int


@frozen
class ShimState:
    """Everything a restarted daemon must know; a container's own descriptors come by `Handles`."""

    KIND: ClassVar[str] = "state"
    FDS: ClassVar[tuple[str, ...]] = SandboxNamespaces.FDS
    sandbox_id: str
    pid: int
    net_fd: int | None = None
    ipc_fd: int | None = None
    uts_fd: int | None = None
    user_fd: int | None = None
    pid_fd: int | None = None
    init_pidfd: int | None = None
    init_pid: int | None = None
    containers: tuple[ContainerState, ...] = ()
    execs: tuple[ExecState, ...] = ()


MESSAGES: Final[tuple[type[Message], ...]] = (
    Hello, SandboxSetup, SandboxNamespaces, AdoptSandbox, Shutdown,
    ContainerCreate, ContainerHandles, AdoptContainer, Handles, Start, Kill, Delete, Checkpoint, ReopenLog, Resize,
    CloseStdin, Attach, ExecStart, ExecStarted, Done, ContainerExited, ExecExited, InitExited, LogDropped,
    ShimState,
)  # fmt: skip
