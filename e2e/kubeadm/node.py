"""The node that kubeadm makes: the daemon, kubeadm, and the kubelet as its unit would run it."""

from __future__ import annotations

import base64
import os
import shlex
from pathlib import Path
from typing import Final

import yaml

from e2e import cgroups
from e2e.daemon import Daemon
from e2e.kube.api import Api, until
from e2e.kube.kubectl import Kubectl
from e2e.kube.namespace import NODE_ADDRESS
from e2e.kube.settings import API, CGROUP_ROOT, NODE
from e2e.kubeadm.configuration import configuration
from e2e.processes import NotReady, Program

_STATE: Final = Path("/var/lib/kubelet")
_SETTINGS: Final = Path("/etc/kubernetes")
_ADMIN: Final = _SETTINGS / "admin.conf"


class KubeadmNode:
    """`registry` is where kubeadm finds its images."""

    def __init__(self, programs: Path, directory: Path, daemon: Daemon, registry: str) -> None:
        self._programs = programs
        self._directory = directory
        self._daemon = daemon
        self._registry = registry
        self._kubelet: Program | None = None

    def init(self) -> str:
        """kubeadm's own words; raises when it does not succeed."""
        (self._directory / "plugins").mkdir()
        (self._directory / "resolv.conf").write_text(f"nameserver {NODE_ADDRESS}\n")
        settings = self._directory / "kubeadm.yaml"
        settings.write_text(configuration(self._directory, self._daemon.endpoint, self._registry))
        cgroups.create(CGROUP_ROOT)
        running = self._start_kubeadm("init", f"--config={settings}")
        flags = _STATE / "kubeadm-flags.env"
        running.wait_until(lambda: flags.exists() and (_STATE / "config.yaml").exists(), seconds=300)
        self._start_kubelet()
        return _finished(running)

    def reset(self) -> str:
        """The kubelet ends first, as systemd would end it for kubeadm."""
        self.stop_kubelet()
        endpoint = self._daemon.endpoint
        return _finished(self._start_kubeadm("reset", "--force", f"--cri-socket={endpoint}"))

    def stop_kubelet(self) -> None:
        if self._kubelet is not None:
            self._kubelet.stop()

    @property
    def api(self) -> Api:
        """As the administrator, with the certificate that is inside the file."""
        user = yaml.safe_load(_ADMIN.read_text())["users"][0]["user"]
        for part in ("certificate", "key"):
            self._administrator(part).write_bytes(base64.b64decode(user[f"client-{part}-data"]))
        return Api(API, self._administrator("certificate"), self._administrator("key"))

    def _administrator(self, part: str) -> Path:
        return self._directory / f"admin-{part}.pem"

    def kubectl(self, namespace: str) -> Kubectl:
        return Kubectl(program=self._programs / "kubectl", config=_ADMIN, namespace=namespace)

    def is_ready(self) -> bool:
        conditions = self.api.get(f"/api/v1/nodes/{NODE}")["status"]["conditions"]
        return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)

    def logs(self) -> list[Path]:
        return [self._daemon.log, *(self._directory / "log").iterdir()]

    def _start_kubeadm(self, *words: str) -> Program:
        log = self._directory / "log" / f"kubeadm-{words[0]}.log"
        path = {"PATH": f"{self._programs}:{os.environ['PATH']}"}
        return Program("kubeadm", [str(self._programs / "kubeadm"), *words], log, env=path, cwd=self._directory)

    def _start_kubelet(self) -> None:
        """With the words of kubeadm's drop-in for systemd."""
        line = (_STATE / "kubeadm-flags.env").read_text().strip()
        flags = shlex.split(line.partition("=")[2])[0]
        command = [
            str(self._programs / "kubelet"),
            f"--bootstrap-kubeconfig={_SETTINGS}/bootstrap-kubelet.conf",
            f"--kubeconfig={_SETTINGS}/kubelet.conf",
            f"--config={_STATE}/config.yaml",
            *shlex.split(flags),
        ]
        self._kubelet = Program("kubelet", command, self._directory / "log" / "kubelet.log", cwd=self._directory)


def _finished(program: Program, seconds: float = 600) -> str:
    until(f"{program.name} to end", lambda: program.process.poll() is not None, seconds=seconds)
    if program.process.returncode != 0:
        raise NotReady(program.name, f"ended with status {program.process.returncode}", program.log)
    return program.log.read_text()
