"""What this host is: looked up once, when the daemon starts. Reads only; changes nothing."""

from __future__ import annotations

import fcntl
import itertools
import os
import signal
import socket
import stat
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from cri.api import runtime_pb2 as api
from cri.errors import InvalidArgument
from cri.features import Features
from cri.specgen import HostFacts
from oci import spec, syscalls
from oci.capabilities import NUMBERS

_SIOCGIFMTU = 0x8921
# Below /dev, but made by every container for itself or of no use inside.
_NOT_DEVICES = {"pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts", ".udev", "console"}


def host_facts(*, cgroup_v2: bool, hugetlb: bool) -> HostFacts:
    effective, _, _ = syscalls.capget()
    return HostFacts(
        cgroup_v2=cgroup_v2,
        hugetlb=hugetlb,
        capabilities=tuple(name for name, number in NUMBERS.items() if effective >> number & 1),
        apparmor=_says("/sys/module/apparmor/parameters/enabled", "Y"),
        devices=tuple(devices_below("/dev")),
    )


def features(*, user_namespaces: bool) -> Features:
    """What this kernel lets us promise: mount_setattr(2), which recursive read-only needs, came with Linux 5.12."""
    return Features(
        recursive_read_only_mounts=_kernel() >= (5, 12),
        supplemental_groups_policy=True,
        mount_options=True,
        user_namespaces=user_namespaces,
    )


def _kernel() -> tuple[int, int]:
    major, minor, *_ = os.uname().release.split(".")
    return int(major), int("".join(itertools.takewhile(str.isdigit, minor)))


def default_mtu() -> int:
    """MTU of the interface that the host's default route leaves by; 1500 without one."""
    try:
        routes = Path("/proc/net/route").read_text().splitlines()[1:]
    except FileNotFoundError:
        return 1500
    for route in routes:
        interface, destination, *_ = route.split()
        if destination == "00000000":
            return interface_mtu(interface)
    return 1500


def interface_mtu(name: str) -> int:
    """Asked of the network namespace that this process is in: /sys/class/net may show another one's interfaces."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as handle:
        answer = fcntl.ioctl(handle, _SIOCGIFMTU, struct.pack("@16si20x", name.encode(), 0))
    return int(struct.unpack_from("@i", answer, 16)[0])


def boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessState:
    """`start` is in clock ticks since boot: with the pid it names one process. `wait_status` counts for a zombie."""

    start: int
    zombie: bool
    wait_status: int


def zombies() -> int:
    """Processes of this host that nobody has reaped; read when Prometheus asks."""
    count = 0
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                count += process_state(int(name)).zombie
            except ProcessLookupError:
                continue
    return count


def process_state(pid: int) -> ProcessState:
    """From /proc/PID/stat (proc(5), fields 3, 22 and 52). Raises ProcessLookupError when the process is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        raise ProcessLookupError(f"process {pid} is gone") from None
    fields = text.rpartition(")")[2].split()
    return ProcessState(start=int(fields[19]), zombie=fields[0] in "ZX", wait_status=int(fields[49]))


def has_executed(pid: int, start: int) -> bool:
    """Whether the process that began at `start` has called execve since it was forked; False when it is gone.

    PF_FORKNOEXEC (0x40) in field 9 of /proc/PID/stat (proc(5)): set by fork, cleared by execve, kept by a zombie.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return int(fields[19]) == start and not int(fields[6]) & 0x40


def is_alive(pid: int, start: int) -> bool:
    """Whether the process that began at `start` still runs."""
    try:
        state = process_state(pid)
    except ProcessLookupError:
        return False
    return state.start == start and not state.zombie


def kill_process(pid: int, start: int) -> None:
    """SIGKILL to the process that began at `start`, unless it is gone."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        if process_state(pid).start == start:
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    except ProcessLookupError:
        pass
    finally:
        os.close(pidfd)


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestedDevices:
    """`sources` has the host's path of each node by its path in the container."""

    nodes: tuple[spec.Device, ...]
    rules: tuple[spec.DeviceRule, ...]
    sources: Mapping[str, str]


def requested_devices(devices: list[api.Device]) -> RequestedDevices:
    """The nodes to make and the rules that allow them. A host path may be a directory (older kubelets)."""
    nodes: list[spec.Device] = []
    rules: list[spec.DeviceRule] = []
    sources: dict[str, str] = {}
    for index, device in enumerate(devices):
        field = f"config.devices[{index}]"
        if set(device.permissions) - set("rwm"):
            raise InvalidArgument(f"{field}.permissions", f"{device.permissions!r} is more than r, w and m")
        try:
            found = list(devices_below(device.host_path))
        except OSError as error:
            raise InvalidArgument(f"{field}.host_path", f"{device.host_path}: {error.strerror}") from error
        if not found:
            raise InvalidArgument(f"{field}.host_path", f"{device.host_path} is not a device")
        shift = len(device.host_path)
        moved = [replace(node, path=(device.container_path or device.host_path) + node.path[shift:]) for node in found]
        nodes += moved
        sources |= {there.path: here.path for here, there in zip(found, moved, strict=True)}
        rules += [
            spec.DeviceRule(
                allow=True, type=node.type, major=node.major, minor=node.minor, access=device.permissions or "rwm"
            )
            for node in found
        ]
    return RequestedDevices(nodes=tuple(nodes), rules=tuple(rules), sources=sources)


def devices_below(path: str) -> Iterator[spec.Device]:
    """The device node at `path`, or those in the directory."""
    status = os.stat(path)
    if stat.S_ISDIR(status.st_mode):
        with os.scandir(path) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                if entry.name not in _NOT_DEVICES and not entry.is_symlink():
                    yield from devices_below(f"{path}/{entry.name}")
    elif stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode):
        yield spec.Device(
            path=path,
            type="c" if stat.S_ISCHR(status.st_mode) else "b",
            major=os.major(status.st_rdev),
            minor=os.minor(status.st_rdev),
            file_mode=stat.S_IMODE(status.st_mode),
            uid=status.st_uid,
            gid=status.st_gid,
        )


def _says(path: str, text: str) -> bool:
    try:
        return Path(path).read_text().strip() == text
    except OSError:
        return False
