"""`linux.resources` of config.json (config-linux.md, "Control groups"). Sizes in bytes, times in microseconds."""

from __future__ import annotations

from oci.spec import codec
from oci.spec.codec import I64, U16, U32, U64
from oci.values import fresh, frozen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


@frozen
class DeviceRule:
    """One allow or deny rule, applied in order; `type` is a, b, c (u too); absent numbers mean all."""

    allow: bool = False
    type: str | None = None
    major: I64 | None = None
    minor: I64 | None = None
    access: str | None = None


@frozen
class MemoryResources:
    limit: I64 | None = None
    reservation: I64 | None = None
    swap: I64 | None = None
    kernel: I64 | None = None
    kernel_tcp: I64 | None = None
    swappiness: U64 | None = None
    disable_oom_killer: bool | None = None
    use_hierarchy: bool | None = None
    check_before_update: bool | None = None


@frozen
class CpuResources:
    shares: U64 | None = None
    quota: I64 | None = None
    burst: U64 | None = None
    period: U64 | None = None
    realtime_runtime: I64 | None = None
    realtime_period: U64 | None = None
    cpus: str | None = None
    mems: str | None = None
    idle: I64 | None = None


@frozen
class PidsResources:
    """-1 is no limit; 0 is a limit like any other (1.3)."""

    limit: I64 | None = None


@frozen
class WeightDevice:
    major: I64
    minor: I64
    weight: U16 | None = None
    leaf_weight: U16 | None = None


@frozen
class ThrottleDevice:
    major: I64
    minor: I64
    rate: U64


@frozen
class BlockIOResources:
    weight: U16 | None = None
    leaf_weight: U16 | None = None
    weight_device: tuple[WeightDevice, ...] = ()
    throttle_read_bps_device: tuple[ThrottleDevice, ...] = ()
    throttle_write_bps_device: tuple[ThrottleDevice, ...] = ()
    throttle_read_iops_device: tuple[ThrottleDevice, ...] = ()
    throttle_write_iops_device: tuple[ThrottleDevice, ...] = ()


@frozen
class HugepageLimit:
    """`page_size` like "2MB"."""

    page_size: str
    limit: U64


@frozen
class InterfacePriority:
    name: str
    priority: U32


@frozen
class NetworkResources:
    class_id: U32 | None = None
    priorities: tuple[InterfacePriority, ...] = ()


@frozen
class RdmaLimit:
    hca_handles: U32 | None = None
    hca_objects: U32 | None = None


@frozen
class Resources:
    devices: tuple[DeviceRule, ...] = ()
    memory: MemoryResources | None = None
    cpu: CpuResources | None = None
    pids: PidsResources | None = None
    block_io: BlockIOResources | None = None
    hugepage_limits: tuple[HugepageLimit, ...] = ()
    network: NetworkResources | None = None
    rdma: Mapping[str, RdmaLimit] = fresh(default_factory=dict)
    unified: Mapping[str, str] = fresh(default_factory=dict)

    @classmethod
    def from_json(cls, document: object, path: str = "linux.resources") -> Resources:
        return codec.decode(cls, document, path)
