"""`linux` of config.json (config-linux.md), without `resources`."""

from __future__ import annotations

from oci.spec import codec
from oci.spec.codec import I64, U32, U64
from oci.spec.resources import Resources
from oci.values import fresh, frozen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


@frozen
class Namespace:
    """`type` is pid, network, mount, ipc, uts, user, cgroup or time; without a path a new one is made."""

    type: str
    path: str | None = None


@frozen
class IdMapping:
    container_id: U32
    host_id: U32
    size: U32


@frozen
class TimeOffset:
    secs: I64 = 0
    nanosecs: U32 = 0


@frozen
class Device:
    """A device node to make; `type` is c, b, u or p; `file_mode` holds permission bits."""

    path: str
    type: str
    major: I64 = 0
    minor: I64 = 0
    file_mode: U32 | None = None
    uid: U32 | None = None
    gid: U32 | None = None


@frozen
class NetDevice:
    name: str | None = None


@frozen
class SeccompArg:
    index: U32
    value: U64
    op: str
    value_two: U64 = 0


@frozen
class SeccompSyscall:
    names: tuple[str, ...]
    action: str
    errno_ret: U32 | None = None
    args: tuple[SeccompArg, ...] = ()


@frozen
class Seccomp:
    default_action: str
    default_errno_ret: U32 | None = None
    architectures: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    listener_path: str | None = None
    listener_metadata: str | None = None
    syscalls: tuple[SeccompSyscall, ...] = ()

    @classmethod
    def from_json(cls, document: object, path: str = "linux.seccomp") -> Seccomp:
        return codec.decode(cls, document, path)


@frozen
class IntelRdt:
    clos_id: str | None = None
    schemata: tuple[str, ...] = ()
    l3_cache_schema: str | None = None
    mem_bw_schema: str | None = None
    enable_monitoring: bool = False


@frozen
class MemoryPolicy:
    mode: str
    nodes: str | None = None
    flags: tuple[str, ...] = ()


@frozen
class Personality:
    domain: str
    flags: tuple[str, ...] = ()


@frozen
class Linux:
    namespaces: tuple[Namespace, ...] = ()
    uid_mappings: tuple[IdMapping, ...] = ()
    gid_mappings: tuple[IdMapping, ...] = ()
    time_offsets: Mapping[str, TimeOffset] = fresh(default_factory=dict)
    devices: tuple[Device, ...] = ()
    net_devices: Mapping[str, NetDevice] = fresh(default_factory=dict)
    cgroups_path: str | None = None
    resources: Resources | None = None
    intel_rdt: IntelRdt | None = None
    memory_policy: MemoryPolicy | None = None
    sysctl: Mapping[str, str] = fresh(default_factory=dict)
    seccomp: Seccomp | None = None
    rootfs_propagation: str | None = None
    masked_paths: tuple[str, ...] = ()
    readonly_paths: tuple[str, ...] = ()
    mount_label: str | None = None
    personality: Personality | None = None
