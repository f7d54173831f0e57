"""What is on the machine that a runtime could have left there, and what of it is new since before.

Owns the list of places: mounts, network namespaces, cgroups, processes, interfaces, addresses, nftables tables, loop
devices, shared memory. It only reads. `leaked` gives things time to go: a kernel removes a namespace or an interface a
moment after the call that ends it returned.
"""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final

_OURS: Final = re.compile(rb"coracle")
_CGROUP: Final = re.compile(r"coracle|[0-9a-f]{64}")
_PATIENCE: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Each field is a set of names; two snapshots are compared field by field."""

    mounts: frozenset[str]
    network_namespaces: frozenset[str]
    cgroups: frozenset[str]
    processes: frozenset[str]
    interfaces: frozenset[str]
    addresses: frozenset[str]
    nftables: frozenset[str]
    loop_devices: frozenset[str]
    shared_memory: frozenset[str]


def snapshot() -> Snapshot:
    return Snapshot(
        mounts=frozenset(_mounts()),
        network_namespaces=frozenset(_names(Path("/run/netns"))),
        cgroups=frozenset(_cgroups()),
        processes=frozenset(_processes()),
        interfaces=frozenset(_names(Path("/sys/class/net"))),
        addresses=frozenset(_addresses()),
        nftables=frozenset(_nftables()),
        loop_devices=frozenset(_loop_devices()),
        shared_memory=frozenset(_names(Path("/dev/shm"))),
    )


def leaked(before: Snapshot, *, patience: float = _PATIENCE) -> list[str]:
    """A line for each thing that is there now and was not before; empty when all is clean."""
    deadline = time.monotonic() + patience
    while True:
        now = snapshot()
        lines = [
            f"{field.name.replace('_', ' ')}: {name}"
            for field in fields(Snapshot)
            for name in sorted(getattr(now, field.name) - getattr(before, field.name))
        ]
        if not lines or time.monotonic() > deadline:
            return lines
        time.sleep(0.1)


def _mounts() -> Iterable[str]:
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        words = line.split()
        if words[4] == "/run/netns":
            continue  # `ip netns` makes its directory a mount point once, and means to leave it
        yield f"{words[4]} ({words[words.index('-') + 1]})"


def _names(directory: Path) -> Iterable[str]:
    try:
        return os.listdir(directory)
    except FileNotFoundError:
        return ()


def _cgroups() -> Iterable[str]:
    """Those of Coracle and of containers: a machine has others that come and go."""
    root = "/sys/fs/cgroup"
    for directory, _, _ in os.walk(root):
        path = os.path.relpath(directory, root)
        if _CGROUP.search(path):
            yield path


def _processes() -> Iterable[str]:
    """Processes that belong to a runtime or to one of its containers, by name, command line or cgroup; not threads."""
    me = os.getpid()
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) == me:
            continue
        try:
            command = Path(f"/proc/{entry}/cmdline").read_bytes()
            name = Path(f"/proc/{entry}/comm").read_bytes()
            root = os.readlink(f"/proc/{entry}/root")
        except OSError:
            continue
        program = command.split(b"\0")[0]
        if _OURS.search(name) or _OURS.search(os.path.basename(program)) or root != "/":
            yield f"{entry} {(command or name).replace(bytes(1), b' ').decode(errors='replace').strip()[:120]}"


def _addresses() -> Iterable[str]:
    listing = subprocess.run(["ip", "-o", "address", "show"], check=True, capture_output=True, text=True).stdout
    for line in listing.splitlines():
        words = line.split()
        yield f"{words[3]} on {words[1]}"


def _nftables() -> Iterable[str]:
    listing = subprocess.run(["nft", "list", "tables"], check=False, capture_output=True, text=True).stdout
    return listing.splitlines()


def _loop_devices() -> Iterable[str]:
    for device in Path("/sys/block").glob("loop*"):
        backing = device / "loop" / "backing_file"
        if backing.exists():
            yield f"{device.name} {backing.read_text().strip()}"
