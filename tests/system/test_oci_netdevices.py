"""`linux.netDevices` with devices of our own: moved, renamed, with their addresses, or not at all."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.system.containers import make_rootfs
from tests.system.oci_command import Command, clean_command

pytestmark = pytest.mark.root

ADDRESSES = ("10.98.11.1/24", "fd00:98:11::1/64")


def ip(*arguments: str) -> str:
    return subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True).stdout


@pytest.fixture
def device() -> Iterator[str]:
    """One end of a pair; both go when either does."""
    name = f"ocx{os.getpid() % 100000}"
    ip("link", "add", name, "type", "veth", "peer", "name", f"{name}p")
    for address in ADDRESSES:
        ip("address", "add", address, "dev", name, *(["nodad"] if ":" in address else []))
    yield name
    subprocess.run(["ip", "link", "delete", f"{name}p"], check=False, capture_output=True)


@pytest.fixture
def oci(tmp_path: Path) -> Iterator[Command]:
    make_rootfs(tmp_path / "rootfs")
    with clean_command(tmp_path, tmp_path / "state") as command:
        yield command


def configure(oci: Command, devices: dict[str, Any]) -> None:
    oci.config("sleep", "1000")
    document = json.loads((oci.bundle / "config.json").read_text())
    document["linux"] |= {"netDevices": devices}
    (oci.bundle / "config.json").write_text(json.dumps(document))


def inside(oci: Command, name: str) -> dict[str, Any]:
    pid = oci.state("one")["pid"]
    answer = subprocess.run(
        ["nsenter", "-t", str(pid), "-n", "ip", "-json", "address", "show", "dev", name],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    found: dict[str, Any] = json.loads(answer.stdout)[0]
    return found


@pytest.mark.parametrize("mapped", [False, True])
def test_a_device_keeps_its_addresses_under_its_new_name(oci: Command, device: str, mapped: bool) -> None:
    configure(oci, {device: {"name": "data%d"}})
    if mapped:
        document = json.loads((oci.bundle / "config.json").read_text())
        document["linux"]["namespaces"].append({"type": "user"})
        for name in ("uidMappings", "gidMappings"):
            document["linux"][name] = [{"containerID": 0, "hostID": 0, "size": 65536}]
        (oci.bundle / "config.json").write_text(json.dumps(document))
    oci("create", "one")
    found = inside(oci, "data0")
    kept = {f"{entry['local']}/{entry['prefixlen']}" for entry in found["addr_info"] if entry["scope"] == "global"}
    assert kept == set(ADDRESSES)
    assert "UP" in found["flags"]
    assert subprocess.run(["ip", "link", "show", device], check=False, capture_output=True).returncode != 0


def test_a_missing_device_and_a_taken_name_are_errors_before_anything_moves(oci: Command, device: str) -> None:
    configure(oci, {device: {}, "ocx-nowhere": {}})
    assert "ocx-nowhere: there is no such network device" in oci("create", "one", check=False).stderr
    configure(oci, {device: {"name": "lo"}})
    assert "has a network device lo already" in oci("create", "one", check=False).stderr
    for address in ADDRESSES:
        assert address in ip("address", "show", "dev", device)
