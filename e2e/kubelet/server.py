"""One kubelet process in standalone mode: all its state below one directory, its ports free ones on loopback."""

from __future__ import annotations

import http.client
import json
import ssl
from pathlib import Path
from typing import Any

from e2e.processes import Program, answers, free_port

CGROUP_ROOT = "/coracle-kubelet"
_EVICTION_SIGNALS = ("memory.available", "nodefs.available", "nodefs.inodesFree", "imagefs.available")


class Kubelet:
    def __init__(self, program: Path, directory: Path, endpoint: str, gates: dict[str, bool]) -> None:
        self._program = program
        self._directory = directory
        self._endpoint = endpoint
        self._gates = gates
        self.port, self._health = free_port(), free_port()
        self.manifests = directory / "manifests"
        self.log = directory / "kubelet.log"
        self._process: Program | None = None

    def start(self) -> None:
        for name in ("manifests", "root", "pod-logs", "plugins", "certificates"):
            (self._directory / name).mkdir(parents=True, exist_ok=True)
        (self._directory / "resolv.conf").write_text("nameserver 127.0.0.1\n")
        configuration = self._directory / "kubelet.json"
        configuration.write_text(json.dumps(self._configuration(), indent=1))
        self._process = Program(
            "kubelet",
            [
                str(self._program),
                f"--config={configuration}",
                f"--root-dir={self._directory}/root",
                f"--cert-dir={self._directory}/certificates",
                "--hostname-override=node",
                "--v=2",
            ],
            self.log,
        )
        self._process.wait_until(lambda: answers("127.0.0.1", self._health) and answers("127.0.0.1", self.port))

    def stop(self) -> None:
        if self._process is not None:
            self._process.stop()

    def get(self, path: str) -> bytes:
        return self.request("GET", path)

    def json(self, path: str) -> Any:
        return json.loads(self.get(path))

    def request(self, method: str, path: str) -> bytes:
        """One exchange with the API on its secure port, whose certificate the kubelet made itself."""
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=60, context=trusting_context())
        try:
            connection.request(method, path)
            answer = connection.getresponse()
            body = answer.read()
            if answer.status >= 400:
                raise RuntimeError(f"kubelet: {method} {path}: {answer.status} {body[:500].decode(errors='replace')}")
            return body
        finally:
            connection.close()

    def _configuration(self) -> dict[str, object]:
        return {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "containerRuntimeEndpoint": self._endpoint,
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": CGROUP_ROOT,
            "failCgroupV1": False,
            "failSwapOn": False,
            "oomScoreAdj": 0,
            "makeIPTablesUtilChains": False,
            "address": "127.0.0.1",
            "port": self.port,
            "healthzPort": self._health,
            "healthzBindAddress": "127.0.0.1",
            "readOnlyPort": 0,
            "staticPodPath": str(self.manifests),
            "podLogsDir": f"{self._directory}/pod-logs",
            "volumePluginDir": f"{self._directory}/plugins",
            "resolvConf": f"{self._directory}/resolv.conf",
            "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
            "authorization": {"mode": "AlwaysAllow"},
            # The disk and the memory of a machine that tests are no reason to evict.
            "evictionHard": dict.fromkeys(_EVICTION_SIGNALS, "0%"),
            "imageGCHighThresholdPercent": 100,
            "imageGCLowThresholdPercent": 99,
            "syncFrequency": "5s",
            "fileCheckFrequency": "1s",
            "featureGates": self._gates,
        }


def trusting_context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
