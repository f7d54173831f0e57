"""What of the cluster and its runtime is still on the machine after both have gone.

`e2e.leaks` compares the whole machine; here everything lies in one directory, one network namespace and known cgroups,
so that only these are looked at and other programs may come and go.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

_BED = {"lo", "node0", "node0-peer"}


def leftovers(directory: Path, cgroups: Sequence[str]) -> list[str]:
    """`cgroups` are the names whose directories must be gone. A pod's interface stands for its namespace."""
    return sorted([*_mounts(directory), *_cgroups(cgroups), *_interfaces(), *_processes()])


def _mounts(directory: Path) -> Iterator[str]:
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        point = line.split()[4]
        if point.startswith(f"{directory}/"):
            yield f"mount {point}"


def _cgroups(names: Sequence[str]) -> Iterator[str]:
    for hierarchy in Path("/sys/fs/cgroup").iterdir():
        for name in names:
            if (hierarchy / name.strip("/")).is_dir():
                yield f"cgroup {hierarchy / name.strip('/')}"


def _interfaces() -> Iterator[str]:
    listing = subprocess.run(["ip", "-json", "link"], check=True, capture_output=True, text=True).stdout
    for link in json.loads(listing):
        if link["ifname"] not in _BED:
            yield f"interface {link['ifname']}"


def _processes() -> Iterator[str]:
    """Those in this network namespace, or in the directory, that are neither this process nor its registry."""
    mine = os.readlink("/proc/self/ns/net")
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) in (os.getpid(), os.getppid()):
            continue
        try:
            command = Path(f"/proc/{entry}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            if os.readlink(f"/proc/{entry}/ns/net") == mine and command and "docker-registry" not in command:
                yield f"process {entry} {command[:120]}"
        except OSError:
            continue
