"""`coracle serve` as a whole program, with roots, bridge and cgroup of its own.

Owns starting, killing and restarting it, finding its processes, and removing its directories. Several can run beside
each other: everything is derived from one short name.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cri.api import runtime_pb2 as pb
from e2e import cgroups
from e2e.client import Client
from e2e.disk import unmount_below
from e2e.mirrors import write_mirrors
from e2e.paths import ROOT
from e2e.processes import Program, Sockets, children_of


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonSettings:
    name: str
    """Short and unique on the machine: the bridge, the cgroup and the addresses come from it."""
    directory: Path
    """root/, run/, certs.d/, net.d/ and the log are made below it."""
    mirrors: Mapping[str, str] = field(default_factory=dict)
    network: Callable[[Path], str] | None = None
    """Makes a CNI configuration, given the directory; without one the built-in network serves."""
    addresses: str = ""
    """The pods' range, where `subnet` would be too small."""
    flags: tuple[str, ...] = ()
    program: tuple[str, ...] = ()
    """The command `coracle`, where it is not this environment's."""
    env: Mapping[str, str] = field(default_factory=dict)
    tree: Path = ROOT
    """The directory of the packages: another one is another version."""

    @property
    def bridge(self) -> str:
        return f"co-{self.name}"[:15]

    @property
    def cgroup(self) -> str:
        return f"/coracle-{self.name}"

    @property
    def subnet(self) -> str:
        """A /24 of 10.128.0.0/9 by the name's hash: two daemons of one machine hardly meet."""
        if self.addresses:
            return self.addresses
        first, second = hashlib.sha256(self.name.encode()).digest()[:2]
        return f"10.{128 + first % 100}.{second}.0/24"


class Daemon:
    """A running daemon and its client. `restart` and `kill` leave pods as they are."""

    def __init__(self, settings: DaemonSettings) -> None:
        self.name = "coracle"
        self.settings = settings
        directory = settings.directory
        self.root = directory / "root"
        self.runroot = directory / "run"
        self.log = directory / "coracle.log"
        self.conf_dir = directory / "net.d"
        self.endpoint = f"unix://{self.runroot}/coracle.sock"
        self.conf_dir.mkdir(parents=True, exist_ok=True)
        if settings.network is not None:
            (self.conf_dir / "10-test.conflist").write_text(settings.network(directory))
        self._mirrors = write_mirrors(directory / "certs.d", settings.mirrors)
        self._program: Program | None = None
        self._client: Client | None = None

    @property
    def client(self) -> Client:
        if self._client is None:
            self._client = Client(self.endpoint)
        return self._client

    @property
    def pid(self) -> int:
        assert self._program is not None
        return self._program.pid

    def program(self) -> list[str]:
        """The command `coracle`: the settings', or this environment's."""
        if self.settings.program:
            return list(self.settings.program)
        script = Path(sys.executable).parent / "coracle"
        return [str(script)] if script.exists() else [sys.executable, "-c", "from cri.cli import main; main()"]

    def command(self) -> list[str]:
        return [
            *self.program(),
            "serve",
            f"--root={self.root}",
            f"--runroot={self.runroot}",
            f"--cni-conf-dir={self.conf_dir}",
            f"--registry-config-path={self._mirrors}",
            f"--network-bridge={self.settings.bridge}",
            f"--network-subnets={self.settings.subnet}",
            f"--runtime-cgroup-root={self.settings.cgroup}",
            *self.settings.flags,
        ]

    def start(self) -> None:
        # A daemon that may not keep its compiled modules compiles them at every start, and is larger for it.
        tree = self.settings.tree
        environment = {"PYTHONDONTWRITEBYTECODE": "", **self.settings.env}
        if tree != ROOT:
            environment["PYTHONPATH"] = str(tree)
        self._program = Program("coracle", self.command(), self.log, env=environment, cwd=tree)
        self._forget_client()
        self._program.wait_until(self.client.ready)

    def stop(self) -> None:
        self._forget_client()
        if self._program is not None:
            self._program.stop()

    def kill(self) -> None:
        assert self._program is not None
        self._forget_client()
        self._program.kill()

    def restart(self) -> None:
        """SIGKILL, then start again."""
        self.kill()
        self.start()

    def daemon_pids(self) -> tuple[int, ...]:
        """The daemon, the launcher and the image workers: the children of the daemon that are no shim."""
        shims = set(self.monitors())
        found, waiting = [self.pid], [self.pid]
        while waiting:
            children = [child for child in children_of(waiting.pop()) if child not in shims]
            found += children
            waiting += children
        return tuple(found)

    def launcher_pid(self) -> int:
        """The daemon's child that forks shims."""
        for child in children_of(self.pid):
            if "launch" in Path(f"/proc/{child}/comm").read_text():
                return child
        raise LookupError(f"daemon {self.pid} has no launcher")

    def shim_pid(self, sandbox: str) -> int:
        """Who serves the sandbox's socket."""
        return Sockets().owner(self.runroot / "sandboxes" / sandbox / "shim.sock")

    def monitors(self) -> tuple[int, ...]:
        return Sockets().owners_below(self.runroot / "sandboxes")

    def version(self) -> str:
        return self.client.runtime.Version(pb.VersionRequest()).runtime_version

    def clean(self) -> None:
        """For a daemon that has stopped: pods it left behind are ended; then bridge, rules, cgroup and files go."""
        for pid in self.monitors():
            os.kill(pid, signal.SIGKILL)
        if Path("/run/systemd/system").exists():
            cgroups.stop_slice(f"{self.settings.cgroup[1:]}.slice")
        cgroups.remove(self.settings.cgroup)
        bridge = self.settings.bridge
        subprocess.run(["ip", "link", "delete", bridge], check=False, capture_output=True)
        subprocess.run(["nft", "delete", "table", "inet", f"coracle-{bridge}"], check=False, capture_output=True)
        unmount_below(self.settings.directory)
        shutil.rmtree(self.settings.directory, ignore_errors=True)

    def _forget_client(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None


@contextmanager
def running_daemon(settings: DaemonSettings) -> Iterator[Daemon]:
    """A daemon that is ready; after the block its pods are removed through it, and it is stopped and cleaned up."""
    daemon = Daemon(settings)
    try:
        daemon.start()
        yield daemon
        daemon.client.remove_all()
    finally:
        daemon.stop()
        daemon.clean()
