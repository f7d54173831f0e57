"""Debian's containerd with runc: the peer that benchmarks compare with and that conformance harnesses are checked on.

It runs from unpacked packages with a root, state, socket and network of its own, so it never meets a containerd that
the machine may have. The caller pushes its pause image (`sandbox_image`) to the local registry.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cri.api import runtime_pb2 as pb
from e2e import debian
from e2e.client import Client
from e2e.disk import unmount_below
from e2e.mirrors import write_mirrors
from e2e.processes import Program, children_of


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerSettings:
    directory: Path
    """Root, state, socket and logs are made below it."""
    registry: str
    sandbox_image: str
    bridge: str
    subnet: str
    mirrors: Mapping[str, str]
    """Host names whose images come from the local registry, and its address for each."""
    runtime_binary: str = ""
    """The OCI runtime that its shim calls; Debian's runc when empty."""


class Peer:
    """A running containerd; `restart` keeps its pods."""

    def __init__(self, settings: PeerSettings) -> None:
        self.name = "containerd"
        self.directory = settings.directory
        self.endpoint = f"unix://{settings.directory}/containerd.sock"
        self.log = settings.directory / "containerd.log"
        self._bridge = settings.bridge
        self._ipam = settings.directory / "ipam"
        self._configuration = _write_configuration(settings)
        self._program: Program | None = None
        self._tables = _nft_tables()

    def daemon_pids(self) -> tuple[int, ...]:
        assert self._program is not None
        return (self._program.pid,)

    def start(self) -> None:
        tools = debian.tree("containerd") / "usr/bin"
        runc = debian.program("runc", "usr/sbin/runc", "usr/bin/runc").parent
        path = os.pathsep.join([str(tools), str(runc), os.environ["PATH"]])
        self._program = Program(
            "containerd",
            [str(tools / "containerd"), "--config", str(self._configuration)],
            self.log,
            env={"PATH": path},
        )
        with Client(self.endpoint) as client:
            self._program.wait_until(client.ready)

    def version(self) -> str:
        with Client(self.endpoint) as client:
            return client.runtime.Version(pb.VersionRequest()).runtime_version

    def kill(self) -> None:
        assert self._program is not None
        self._program.kill()

    def stop(self) -> None:
        if self._program is not None:
            self._program.stop()

    def monitors(self) -> tuple[int, ...]:
        """Pids of the processes beside the daemon and the workloads: shims, and pause processes."""
        found = []
        marker = str(self.directory).encode()
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if b"containerd-shim" in command.split(b"\0")[0] and marker in command:
                found.append(int(entry.name))
                found += [pid for pid in children_of(int(entry.name)) if _is_pause(pid)]
        return tuple(found)

    def clean(self) -> None:
        """Removes what containerd leaves when it ends: shims, mounts, its bridge and the plugins' iptables chains."""
        for pid in self.monitors():
            os.kill(pid, signal.SIGKILL)
        unmount_below(self.directory)
        subprocess.run(["ip", "link", "delete", self._bridge], check=False, capture_output=True)
        _remove_plugin_chains()
        for table in _nft_tables() - self._tables:
            subprocess.run(["nft", "delete", "table", *table.split()], check=False, capture_output=True)
        shutil.rmtree(self._ipam, ignore_errors=True)


@contextmanager
def running_peer(settings: PeerSettings) -> Iterator[Peer]:
    peer = Peer(settings)
    peer.start()
    try:
        yield peer
    finally:
        try:
            with Client(peer.endpoint) as client:
                client.remove_all()
        finally:
            peer.stop()
            peer.clean()


def _write_configuration(settings: PeerSettings) -> Path:
    directory = settings.directory
    for name in ("net.d", "root", "state"):
        (directory / name).mkdir(parents=True, exist_ok=True)
    write_mirrors(directory / "certs.d", settings.mirrors)
    network = {
        "cniVersion": "1.0.0",
        "name": "peer",
        "plugins": [
            {
                "type": "bridge",
                "bridge": settings.bridge,
                "isGateway": True,
                "ipMasq": True,
                "hairpinMode": True,
                "ipam": {
                    "type": "host-local",
                    "dataDir": str(directory / "ipam"),
                    "ranges": [[{"subnet": settings.subnet}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": True}},
        ],
    }
    (directory / "net.d" / "10-peer.conflist").write_text(json.dumps(network))
    plugins = debian.tree("containernetworking-plugins") / "usr/lib/cni"
    configuration = directory / "config.toml"
    configuration.write_text(
        f"""version = 2
root = "{directory}/root"
state = "{directory}/state"
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.aufs", "io.containerd.internal.v1.opt"]
[grpc]
  address = "{directory}/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{settings.sandbox_image}"
  restrict_oom_score_adj = true
  disable_apparmor = true
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "{directory}/certs.d"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{plugins}"
    conf_dir = "{directory}/net.d"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = false
      BinaryName = "{settings.runtime_binary}"
"""
    )
    return configuration


def _is_pause(pid: int) -> bool:
    try:
        return os.path.basename(os.readlink(f"/proc/{pid}/exe")) == "pause"
    except OSError:
        return False


def _nft_tables() -> set[str]:
    """Like "ip nat": iptables makes such tables when a plugin first calls it."""
    listing = subprocess.run(["nft", "list", "tables"], check=True, capture_output=True, text=True).stdout
    return {line.removeprefix("table ") for line in listing.splitlines()}


def _remove_plugin_chains() -> None:
    """The bridge and portmap plugins leave their empty chains in the nat table."""
    rules = subprocess.run(["iptables-save", "-t", "nat"], check=True, capture_output=True, text=True).stdout
    for line in rules.splitlines():
        if re.match(r"-A \S+ .*-j CNI-", line):
            subprocess.run(["iptables", "-t", "nat", "-D", *shlex.split(line)[1:]], check=False, capture_output=True)
    chains = re.findall(r"^:(CNI-\S+)", rules, re.MULTILINE)
    for action in ("-F", "-X"):
        for chain in chains:
            subprocess.run(["iptables", "-t", "nat", action, chain], check=False, capture_output=True)
