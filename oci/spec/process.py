"""`process` and `hooks` of config.json (config.md, "Process" and "POSIX-platform Hooks"); also exec's process.json."""

from __future__ import annotations

from oci.spec import codec
from oci.spec.codec import I64, U32, U64
from oci.values import fresh, frozen


@frozen
class User:
    uid: U32 = 0
    gid: U32 = 0
    umask: U32 | None = None
    additional_gids: tuple[U32, ...] = ()


@frozen
class Capabilities:
    """Names as in capabilities(7), `CAP_` included."""

    bounding: tuple[str, ...] = ()
    effective: tuple[str, ...] = ()
    inheritable: tuple[str, ...] = ()
    permitted: tuple[str, ...] = ()
    ambient: tuple[str, ...] = ()


@frozen
class Rlimit:
    """`type` is `RLIMIT_NOFILE` and so on; 2**64-1 means unlimited."""

    type: str
    hard: U64 = 0
    soft: U64 = 0


@frozen
class ConsoleSize:
    height: U32 = 0
    width: U32 = 0


@frozen
class Scheduler:
    policy: str
    nice: int = 0
    priority: int = 0
    flags: tuple[str, ...] = ()
    runtime: U64 | None = None
    deadline: U64 | None = None
    period: U64 = 0


@frozen
class IOPriority:
    """`class_` is `class` in JSON, a keyword here: `IOPRIO_CLASS_RT`, `_BE` or `_IDLE`; priority 0 to 7."""

    class_: str
    priority: int = 0


@frozen
class CpuAffinity:
    """CPU lists like "0-3,7"."""

    initial: str | None = None
    final: str | None = None


@frozen
class Process:
    cwd: str
    args: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    terminal: bool = False
    console_size: ConsoleSize | None = None
    user: User = fresh(default_factory=User)
    capabilities: Capabilities | None = None
    rlimits: tuple[Rlimit, ...] = ()
    no_new_privileges: bool = False
    apparmor_profile: str | None = None
    oom_score_adj: int | None = None
    selinux_label: str | None = None
    scheduler: Scheduler | None = None
    io_priority: IOPriority | None = None
    exec_cpu_affinity: CpuAffinity | None = None

    @classmethod
    def from_json(cls, document: object, path: str = "process") -> Process:
        return codec.decode(cls, document, path)


@frozen
class Hook:
    """`timeout` in seconds; `args` includes argv[0]."""

    path: str
    args: tuple[str, ...] = ()
    env: tuple[str, ...] | None = None
    timeout: I64 | None = None


@frozen
class Hooks:
    prestart: tuple[Hook, ...] = ()
    create_runtime: tuple[Hook, ...] = ()
    create_container: tuple[Hook, ...] = ()
    start_container: tuple[Hook, ...] = ()
    poststart: tuple[Hook, ...] = ()
    poststop: tuple[Hook, ...] = ()
