"""What callers hand to the engine and what they get back. Values only."""

from __future__ import annotations

from oci.enums import Enum
from oci.handshake.duties import Duties
from oci.sockets import Socket
from oci.spec import Process, Spec
from oci.values import fresh, frozen, record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Protocol
else:
    Protocol = object


class CgroupHandle(Protocol):
    """The part of `oci.cgroups.Cgroup` that the engine uses."""

    @property
    def path(self) -> str: ...

    def attach(self, pid: int) -> None: ...

    def into_fd(self) -> int | None: ...

    def entry_fds(self) -> Sequence[int]: ...


class ResctrlGroup(Protocol):
    """The part of `oci.resctrl.Group` that the engine uses; the caller prepares it, as it does the cgroup."""

    def attach(self, pid: int) -> None: ...


class Attach(Enum):
    """Who moves the new process into a cgroup that it can neither be cloned into (v2) nor enter by itself (v1).

    The first attach after a quiet time waits about 10 ms for an RCU grace period.
    """

    WAIT = "wait"  # the engine does, while the child mounts; create returns when both are done
    BACKGROUND = "background"  # a short-lived helper process does; create does not wait for it, start does
    CALLER = "caller"  # the caller does, between create and start, and vouches for it by calling start


@frozen
class Stdio:
    """Descriptors that become the process's 0, 1 and 2. The caller keeps and closes its own copies."""

    stdin: int
    stdout: int
    stderr: int


@frozen
class CreateRequest:
    """`rootfs_fd` and `mount_fds` (index into spec.mounts -> descriptor) are detached mounts, used up by the container.

    Without `stdio` the process inherits the caller's 0, 1 and 2. `seccomp_program` is finished BPF and wins over
    spec.linux.seccomp. The descriptors in `preserved` stay open in the container. With `listener_fd` (a bound,
    listening SEQPACKET socket) init takes its start order from whoever connects there, so that another process than
    the creator may start it. `hook_outputs` are files for what hooks of the runtime's namespaces print, (1 or 2, path):
    asked of whoever wrote the config, never of a pod's annotations. `check_program` makes create, not only start, fail
    when args[0] does not exist.
    """

    container_id: str
    spec: Spec
    bundle: str
    rootfs_fd: int | None = None
    mount_fds: Mapping[int, int] = fresh(default_factory=dict)
    stdio: Stdio | None = None
    cgroup: CgroupHandle | None = None
    attach: Attach = Attach.WAIT
    seccomp_program: bytes | None = None
    preserved: tuple[int, ...] = ()
    no_pivot: bool = False
    no_new_keyring: bool = False
    check_program: bool = False
    resctrl: ResctrlGroup | None = None
    hook_outputs: tuple[tuple[int, str], ...] = ()
    listener_fd: int | None = None


@frozen
class ExecRequest:
    """`pid` and `pidfd` name the container's init; `spec` is the container's. `container_id` and `bundle` matter only
    to a seccomp agent."""

    pid: int
    pidfd: int
    process: Process
    spec: Spec
    stdio: Stdio | None = None
    cgroup: CgroupHandle | None = None
    seccomp_program: bytes | None = None
    preserved: tuple[int, ...] = ()
    container_id: str = ""
    bundle: str = ""


@record
class Created:
    """A container whose init waits to be started. `start` uses up `channel`; the other descriptors are the caller's."""

    container_id: str
    pid: int
    pidfd: int
    channel: Socket
    console_fd: int | None = None
    attach_pidfd: int | None = None
    attach_pid: int | None = None
    warnings: tuple[str, ...] = ()
    duties: Duties = fresh(default_factory=Duties)


@frozen
class Running:
    """An exec'ed process; the descriptors are the caller's. The process is the caller's child to reap."""

    pid: int
    pidfd: int
    console_fd: int | None = None
