"""runtime-spec 1.3 config.json, its Linux part, as frozen values. Owns the shape and the types; checks no meaning.

`Spec.from_json(document)` raises `SpecError` naming the field; `to_json(spec)` is its inverse. Python names are the
JSON names in snake case. Lists are tuples; absent is None, or empty where the specification makes no difference. What
contradicts itself or this host is found by `oci.plan`. Sections of other platforms (windows, solaris, ...) are ignored.

The four modules follow the four pages of the specification: config, process, linux, resources.
"""

from __future__ import annotations

from oci.spec.config import Mount, Root, Spec, to_json
from oci.spec.linux import (
    Device,
    IdMapping,
    IntelRdt,
    Linux,
    MemoryPolicy,
    Namespace,
    NetDevice,
    Personality,
    Seccomp,
    SeccompArg,
    SeccompSyscall,
    TimeOffset,
)
from oci.spec.process import (
    Capabilities,
    ConsoleSize,
    CpuAffinity,
    Hook,
    Hooks,
    IOPriority,
    Process,
    Rlimit,
    Scheduler,
    User,
)
from oci.spec.resources import (
    BlockIOResources,
    CpuResources,
    DeviceRule,
    HugepageLimit,
    InterfacePriority,
    MemoryResources,
    NetworkResources,
    PidsResources,
    RdmaLimit,
    Resources,
    ThrottleDevice,
    WeightDevice,
)

VERSION = "1.3.0"

__all__ = [
    "VERSION",
    "BlockIOResources",
    "Capabilities",
    "ConsoleSize",
    "CpuAffinity",
    "CpuResources",
    "Device",
    "DeviceRule",
    "Hook",
    "Hooks",
    "HugepageLimit",
    "IOPriority",
    "IdMapping",
    "IntelRdt",
    "InterfacePriority",
    "Linux",
    "MemoryPolicy",
    "MemoryResources",
    "Mount",
    "Namespace",
    "NetDevice",
    "NetworkResources",
    "Personality",
    "PidsResources",
    "Process",
    "RdmaLimit",
    "Resources",
    "Rlimit",
    "Root",
    "Scheduler",
    "Seccomp",
    "SeccompArg",
    "SeccompSyscall",
    "Spec",
    "ThrottleDevice",
    "TimeOffset",
    "User",
    "WeightDevice",
    "to_json",
]
