"""The steps a container's init (or an exec'ed process) takes, as values. Owns their vocabulary; `oci.init` acts.

A plan is a tuple of these. `describe()` is what `--dry-run` prints and what an error names as its stage.
"""

from __future__ import annotations

from oci import syscalls as sc
from oci.plan.mount_options import MountOptions
from oci.spec import Device, IdMapping, Process
from oci.values import frozen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol, TypeAlias
else:
    Protocol = object


class Operation(Protocol):
    def describe(self) -> str: ...


@frozen
class JoinNamespace:
    kind: str
    path: str

    def describe(self) -> str:
        return f"join {self.kind} namespace {self.path}"


@frozen
class AwaitMappings:
    """Wait until the parent wrote uid_map and gid_map, then become root of the user namespace."""

    def describe(self) -> str:
        return "become root of the user namespace"


@frozen
class BecomeNamespaceRoot:
    def describe(self) -> str:
        return "become root of the joined user namespace"


@frozen
class Reclone:
    """Go on in a sibling made with these namespaces, which the user namespace (new or just joined) owns."""

    kinds: tuple[str, ...]

    def describe(self) -> str:
        return f"make namespaces {', '.join(self.kinds)}"


@frozen
class EnterTimeNamespace:
    """`offsets`: (clock, seconds, nanoseconds)."""

    offsets: tuple[tuple[str, int, int], ...] = ()

    def describe(self) -> str:
        return "make a time namespace"


@frozen
class HideFromPeers:
    """Not dumpable until execve: nobody in the container may trace us or read our memory or descriptors."""

    def describe(self) -> str:
        return "clear the dumpable attribute"


@frozen
class JoinKeyring:
    name: str

    def describe(self) -> str:
        return f"join session keyring {self.name}"


@frozen
class RaiseLoopback:
    def describe(self) -> str:
        return "set loopback interface up"


@frozen
class AwaitRuntimeHooks:
    """The parent runs prestart and createRuntime hooks while we wait."""

    def describe(self) -> str:
        return "run prestart and createRuntime hooks"


@frozen
class RunContainerHooks:
    """`kind` is createContainer or startContainer; the hooks themselves are in the request."""

    kind: str
    directory: str | None = None

    def describe(self) -> str:
        return f"run {self.kind} hooks"


@frozen
class AttachRoot:
    """Attach the root filesystem over the old root, or at `place` for hooks that look for it by its path on the host.
    Without `path` it is the detached mount in the request. `below` is the propagation of mounts in it."""

    path: str | None
    place: str | None = None
    below: int = sc.MS_SLAVE

    def describe(self) -> str:
        return f"attach root filesystem {self.path or '(mount descriptor)'}"


@frozen
class OpenRoot:
    """Use the root filesystem where it is: no mount namespace of our own."""

    path: str

    def describe(self) -> str:
        return f"open root filesystem {self.path}"


@frozen
class MountFilesystem:
    """`source` and the options' data go to the file system's own parameters; `label` is set on its root directory."""

    destination: str
    fstype: str
    source: str
    options: MountOptions
    label: str = ""

    def describe(self) -> str:
        return f"mount {self.fstype} on {self.destination}"


@frozen
class MountBind:
    """Clone the tree at `source` (a path of the runtime's mount namespace) to `destination`.

    `default_propagation` is used when the options name none. `uid_mappings` make it an idmapped mount.
    """

    destination: str
    source: str
    options: MountOptions
    default_propagation: tuple[int, bool]
    uid_mappings: tuple[IdMapping, ...] = ()
    gid_mappings: tuple[IdMapping, ...] = ()
    index: int = -1

    def describe(self) -> str:
        return f"bind mount {self.source} on {self.destination}"


@frozen
class OpenSources:
    """Clone root and bind sources, and make device nodes, while we are still root of the host and its mounts are as
    they were: root of a user namespace may not do it, and a private mount has no peers."""

    root: AttachRoot | None
    binds: tuple[MountBind, ...]
    nodes: tuple[MakeDevice, ...] = ()
    label: str = ""  #: of the nodes

    def describe(self) -> str:
        return "open mount sources"


@frozen
class MountDescriptor:
    """Move the detached mount that the request holds for spec.mounts[index] to `destination`."""

    destination: str
    index: int
    options: MountOptions

    def describe(self) -> str:
        return f"mount descriptor of mounts[{self.index}] on {self.destination}"


@frozen
class Remount:
    destination: str
    options: MountOptions

    def describe(self) -> str:
        return f"remount {self.destination}"


@frozen
class MakeMountReadonly:
    """For a file system that had to be writable while mount points were made in it."""

    destination: str

    def describe(self) -> str:
        return f"make mount {self.destination} read-only"


@frozen
class MakeDevice:
    """`bind` takes a node from outside instead of making one: mknod is not allowed in a user namespace. That is one
    made for this container with `owner` (ids of the host), else the host's own."""

    device: Device
    bind: bool = False
    owner: tuple[int, int] | None = None

    def describe(self) -> str:
        return f"make device {self.device.path}"


@frozen
class MakeSymlink:
    """Replaces what is at `path`, unless that is a directory."""

    path: str
    target: str
    replace: bool = True

    def describe(self) -> str:
        return f"make symlink {self.path}"


@frozen
class MakeDirectory:
    path: str
    mode: int = 0o755

    def describe(self) -> str:
        return f"make directory {self.path}"


@frozen
class OpenConsole:
    """A terminal from the container's own devpts: the master goes to the parent, the slave on /dev/console."""

    uid: int
    height: int = 0
    width: int = 0
    bind_console: bool = True

    def describe(self) -> str:
        return "set up console"


@frozen
class SetHostname:
    name: str

    def describe(self) -> str:
        return f"set hostname {self.name}"


@frozen
class SetDomainname:
    name: str

    def describe(self) -> str:
        return f"set domainname {self.name}"


@frozen
class WriteSysctl:
    """`path` is relative to /proc/sys."""

    path: str
    value: str

    def describe(self) -> str:
        return f"write sysctl {self.path}"


@frozen
class ReadonlyPath:
    path: str

    def describe(self) -> str:
        return f"make path {self.path} read-only"


@frozen
class MaskPath:
    path: str
    label: str = ""  #: of what covers a directory

    def describe(self) -> str:
        return f"mask path {self.path}"


@frozen
class PivotRoot:
    def describe(self) -> str:
        return "pivot to the root filesystem"


@frozen
class MoveRoot:
    """For a runtime whose own root is an initramfs, where pivot_root is impossible."""

    def describe(self) -> str:
        return "move the root filesystem to /"


@frozen
class ChangeRoot:
    def describe(self) -> str:
        return "change root to the root filesystem"


@frozen
class MakeRootReadonly:
    def describe(self) -> str:
        return "make the root filesystem read-only"


@frozen
class SetRootPropagation:
    flags: int

    def describe(self) -> str:
        return "set propagation of the root filesystem"


@frozen
class AwaitAttach:
    """Wait until the parent has moved us into our cgroup."""

    def describe(self) -> str:
        return "wait for the cgroup"


@frozen
class EnterCgroup:
    """By descriptors opened before the clone; cheap, because the kernel need not stop anyone else for it."""

    def describe(self) -> str:
        return "enter the cgroup"


@frozen
class UnshareCgroup:
    """After the attach: a cgroup namespace's root is the cgroup of the process that makes it."""

    def describe(self) -> str:
        return "make a cgroup namespace"


@frozen
class JoinContainer:
    """Enter the namespaces of the container's init by its pidfd; which ones, the engine finds out."""

    def describe(self) -> str:
        return "join the container's namespaces"


@frozen
class SetPersonality:
    persona: int

    def describe(self) -> str:
        return f"set personality {self.persona:#x}"


@frozen
class SetScheduler:
    """struct sched_attr of sched_setattr(2)."""

    policy: int
    flags: int
    nice: int
    priority: int
    runtime: int
    deadline: int
    period: int

    def describe(self) -> str:
        return f"set scheduling policy {self.policy}"


@frozen
class SetIOPriority:
    value: int

    def describe(self) -> str:
        return f"set I/O priority {self.value:#x}"


@frozen
class SetMemoryPolicy:
    mode: int
    nodes: int

    def describe(self) -> str:
        return f"set memory policy {self.mode:#x}"


@frozen
class ResetAffinity:
    """Undo the runtime's own CPU affinity; `cpus` names those wanted instead of all."""

    cpus: frozenset[int] = frozenset()

    def describe(self) -> str:
        return "reset CPU affinity"


@frozen
class SetRlimit:
    name: str
    number: int
    soft: int
    hard: int

    def describe(self) -> str:
        return f"set {self.name}"


@frozen
class SetLsmLabel:
    """`attribute` is a path below /proc/thread-self/attr."""

    module: str
    attribute: str
    value: str

    def describe(self) -> str:
        return f"set {self.module} label {self.value}"


@frozen
class SetDefaultHome:
    """HOME from the root filesystem's own passwd, for an environment without it."""

    uid: int

    def describe(self) -> str:
        return f"look up the home directory of uid {self.uid}"


@frozen
class SetStdio:
    """Put the request's descriptors in place and give them to the process's user."""

    uid: int
    gid: int

    def describe(self) -> str:
        return "set up stdin, stdout and stderr"


@frozen
class SetPrivileges:
    """Bounding set, groups, ids, the other capability sets, umask: in this order, at once."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    umask: int
    bounding: int
    effective: int
    permitted: int
    inheritable: int
    ambient: int
    may_lack_setgroups: bool = False
    keep_groups: bool = False

    def describe(self) -> str:
        return f"become uid {self.uid} gid {self.gid}"


@frozen
class ChangeDirectory:
    """Tried as root first; `as_user` tries again where root may not go (a network file system)."""

    path: str
    as_user: bool = False

    def describe(self) -> str:
        return f"change directory to {self.path}"


@frozen
class SetNoNewPrivileges:
    def describe(self) -> str:
        return "set no_new_privs"


@frozen
class InstallSeccomp:
    """The request's program. `notify` sends the listener descriptor to the parent."""

    flags: int
    notify: bool = False

    def describe(self) -> str:
        return "install seccomp filter"


@frozen
class FindProgram:
    """Look args[0] up in the container's PATH, as the container's user; `early` as root, and only what is missing
    is an error then: whoever creates a container for others to start wants to know before."""

    name: str
    early: bool = False

    def describe(self) -> str:
        return f'exec: "{self.name}"'


@frozen
class CloseDescriptors:
    """Mark everything from 3 on close-on-exec but those in `keep`."""

    keep: tuple[int, ...] = ()

    def describe(self) -> str:
        return "close descriptors"


@frozen
class ResetSignals:
    """CPython ignores SIGPIPE and SIGXFSZ, and ignored signals survive execve."""

    def describe(self) -> str:
        return "reset signals"


@frozen
class Execute:
    name: str

    def describe(self) -> str:
        return f'exec: "{self.name}"'


Operations: TypeAlias = tuple[Operation, ...]


@frozen
class Plan:
    """What to do, in order. `setup` runs before init reports ready, `finish` after it was told to start.

    `new_namespaces` are made by clone3; `joined_by_parent` (the path of a pid namespace) must be set on the parent
    while it clones.
    """

    new_namespaces: frozenset[str]
    joined_pid_namespace: str | None
    setup: Operations
    finish: Operations
    process: Process
    uid_mappings: tuple[IdMapping, ...] = ()
    gid_mappings: tuple[IdMapping, ...] = ()
    warnings: tuple[str, ...] = ()
    namespace_paths: tuple[tuple[str, str], ...] = ()

    def describe(self) -> tuple[str, ...]:
        return tuple(step.describe() for step in (*self.setup, *self.finish))
