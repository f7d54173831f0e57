"""A systemd of plain processes: it answers the host tree's systemctl, and runs what the units there say.

Units are read from the tree: the daemon's and the switch's are those that the installer wrote. The kubelet's own is
the cluster's kubelet, started with what the tree's files say of its runtime. Tests may hold a verb, or have the daemon
fall silent when the kubelet comes to it.
"""

from __future__ import annotations

import re
import shlex
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from e2e.client import Client
from e2e.installer.host import BUS, COMMANDS, ENDPOINT, KUBELET_UNIT, HostTree
from e2e.kube.cluster import Cluster
from e2e.processes import NotReady, Program

_ONESHOTS: Final = ("coracle-switch.service", "coracle-rollback.service")


class PlainSystemd:
    """`environment` is the daemon's; `use` tells the cluster which endpoint its kubelet shall have."""

    def __init__(
        self, tree: HostTree, cluster: Cluster, use: Callable[[str], None], environment: dict[str, str], logs: Path
    ) -> None:
        self._tree = tree
        self._cluster = cluster
        self._use = use
        self._environment = environment
        self._logs = logs
        self.enabled = {"kubelet.service", "containerd.service"}
        self.active = {"kubelet.service", "containerd.service"}
        self.told: list[str] = []
        self.held: set[str] = set()
        """Verb and unit that wait until they are taken out."""
        self.silent = False
        """The daemon is stopped (SIGSTOP) whenever a kubelet starts on it."""
        self._programs: dict[str, Program] = {}
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    @property
    def endpoint(self) -> str:
        return f"unix://{self._tree.root}/run/coracle/coracle.sock"

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._ending.set()
        self._thread.join()
        for unit in list(self._programs):
            self._stop(unit)

    def program(self, unit: str) -> Program | None:
        return self._programs.get(unit)

    # -- the bus -----------------------------------------------------------------------------------------------------

    def _serve(self) -> None:
        bus = self._tree.root / BUS
        while not self._ending.is_set():
            for ask in sorted(bus.glob("*.ask")):
                words = ask.read_text().splitlines()
                ask.unlink()
                threading.Thread(target=self._answer, args=(bus / f"{ask.stem}.answer", words), daemon=True).start()
            time.sleep(0.02)

    def _answer(self, target: Path, words: list[str]) -> None:
        plain = [word for word in words if not word.startswith("--")]
        verb, unit = plain[0], plain[-1]
        self.told.append(f"{verb} {unit}")
        while f"{verb} {unit}" in self.held and not self._ending.is_set():
            time.sleep(0.05)
        status, output = self._do(verb, unit)
        partial = target.with_suffix(".partial")
        partial.write_text(f"{status}\n{output}")
        partial.rename(target)

    def _do(self, verb: str, unit: str) -> tuple[int, str]:
        match verb:
            case "is-enabled":
                return int(unit not in self.enabled), ""
            case "is-active":
                return int(unit not in self.active), ""
            case "cat":
                text = self._text(unit)
                return int(not text), text
            case "show":
                return 0, "active\n" if unit in self.active else "inactive\n"
            case "enable":
                self.enabled.add(unit)
            case "disable":
                self.enabled.discard(unit)
            case "start":
                self._start(unit)
            case "restart":
                self._stop(unit)
                self._start(unit)
            case "stop":
                self._stop(unit)
        return 0, ""

    # -- units -------------------------------------------------------------------------------------------------------

    def _text(self, unit: str) -> str:
        text = KUBELET_UNIT if unit == "kubelet.service" else self._tree.read(f"etc/systemd/system/{unit}")
        drop_ins = sorted((self._tree.root / f"etc/systemd/system/{unit}.d").glob("*.conf"))
        return text + "".join(drop_in.read_text() for drop_in in drop_ins)

    def _command(self, unit: str) -> list[str]:
        """The last ExecStart, its paths below the tree."""
        line = re.findall(r"^ExecStart=(\S.*)$", self._text(unit).replace("\\\n", ""), re.MULTILINE)[-1]
        for top in ("/opt/", "/var/lib/coracle-deploy/"):
            line = line.replace(top, f"{self._tree.root}{top}")
        return [word for word in shlex.split(line) if not word.startswith("$CORACLE")]

    def _start(self, unit: str) -> None:
        if unit in self.active and not unit.endswith(".timer"):
            return
        self.active.add(unit)
        if unit == "coracle.service":
            self._start_daemon()
        elif unit == "kubelet.service":
            threading.Thread(target=self._start_kubelet, daemon=True).start()
        elif unit in _ONESHOTS:
            threading.Thread(target=self._run_oneshot, args=(unit,), daemon=True).start()

    def _stop(self, unit: str) -> None:
        self.active.discard(unit)
        if unit == "kubelet.service":
            self._cluster.kill_kubelet()
        program = self._programs.pop(unit, None)
        if program is not None:
            program.process.send_signal(signal.SIGCONT)
            program.stop()

    def _start_daemon(self) -> None:
        (self._tree.root / "run/coracle").mkdir(parents=True, exist_ok=True)
        environment = {**self._environment, "CORACLE_LISTEN": self.endpoint}
        program = Program("coracle", self._command("coracle.service"), self._logs / "coracle.log", env=environment)
        self._programs["coracle.service"] = program
        with Client(self.endpoint) as client:
            program.wait_until(client.ready, seconds=60)

    def _start_kubelet(self) -> None:
        """By its files, read here in another way than the installer does."""
        endpoint = re.findall(
            r"container-?[rR]untime-?[eE]ndpoint[=:] ?\"?([^\s\"]+)",
            self._tree.read("var/lib/kubelet/config.yaml")
            + self._tree.read("var/lib/kubelet/kubeadm-flags.env")
            + self._tree.read("etc/default/kubelet"),
        )[-1]
        ours = endpoint == ENDPOINT
        daemon = self._programs.get("coracle.service")
        if daemon is not None:
            daemon.process.send_signal(signal.SIGSTOP if ours and self.silent else signal.SIGCONT)
        self._use(self.endpoint if ours else endpoint)
        try:
            self._cluster.start_kubelet()
        except NotReady:
            pass  # it is what the host's part of the installer has to find out

    def _run_oneshot(self, unit: str) -> None:
        """Again after an end that the unit's Restart= means."""
        environment = {
            "CORACLE_INSTALLER_HOST_ROOT": str(self._tree.root),
            "CORACLE_INSTALLER_COMMANDS": str(self._tree.root / COMMANDS),
        }
        while unit in self.active and not self._ending.is_set():
            program = Program(unit, self._command(unit), self._logs / f"{unit}.log", env=environment)
            self._programs[unit] = program
            if not self._comes_again(unit, program.process.wait()):
                break
            time.sleep(1)
        self.active.discard(unit)
        self._programs.pop(unit, None)

    def _comes_again(self, unit: str, status: int) -> bool:
        """`status` is negative for a signal."""
        text = self._text(unit)
        never = re.findall(r"^RestartPreventExitStatus=(\d+)$", text, re.MULTILINE)
        match re.findall(r"^Restart=(\S+)$", text, re.MULTILINE):
            case ["on-failure"]:
                return status != 0 and str(status) not in never
            case ["on-abnormal"]:
                return status < 0
            case _:
                return False


def pids_of(words: str) -> list[int]:
    """Processes of this network namespace whose command line has `words`."""
    mine = Path("/proc/self/ns/net").readlink()
    found = []
    for entry in Path("/proc").iterdir():
        try:
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if entry.name.isdigit() and words in command and (entry / "ns/net").readlink() == mine:
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def run(command: list[str], **environment: str) -> str:
    """The output of a program that must succeed; its words are in the error."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**environment} or None)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"
    return done.stdout
