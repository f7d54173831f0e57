"""The components as processes: started in order, stopped in reverse, restarted one by one, and cleaned up after.

The runtime is the caller's: it runs before `start` and after `stop`.

    DIRECTORY/
    ├── certificates/           the authority, and everybody's certificates
    ├── admin.conf ...          kubeconfig files
    ├── etcd/                   the cluster's state
    ├── node/kubelet/           volumes of pods; the kubelet makes it a mount
    ├── pod-logs/
    └── log/                    a log per component
"""

from __future__ import annotations

import json
import shutil
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from e2e import cgroups
from e2e.disk import unmount_below
from e2e.kube import components, kubeconfig, kubelet_settings
from e2e.kube.api import Api, until
from e2e.kube.certificates import Certificates
from e2e.kube.components import Component
from e2e.kube.kubectl import Kubectl
from e2e.kube.namespace import NODE_ADDRESS
from e2e.kube.published import publish_dns, publish_metrics
from e2e.kube.settings import API, CGROUP_ROOT, NODE
from e2e.processes import Program
from e2e.runtime import Runtime

_USERS = ("admin", "controller-manager", "scheduler", "kubelet", "proxy")


class Cluster:
    """`programs` is the directory of the components; `quick_restarts`: no crashed container waits long.

    `metrics`: with a metrics-server.
    """

    def __init__(
        self,
        programs: Path,
        directory: Path,
        runtime: Runtime,
        *,
        proxy_mode: str,
        quick_restarts: bool = True,
        metrics: bool = False,
    ) -> None:
        self.programs = programs
        self.directory = directory
        self.runtime = runtime
        self._quick_restarts = quick_restarts
        self._proxy_mode = proxy_mode
        self._metrics = metrics
        self._certificates = Certificates(directory / "certificates")
        self._running: dict[str, Program] = {}

    def start(self) -> None:
        for name in ("manifests", "node/kubelet", "pod-logs", "plugins"):
            (self.directory / name).mkdir(parents=True, exist_ok=True)
        (self.directory / "resolv.conf").write_text(f"nameserver {NODE_ADDRESS}\n")
        self._certificates.make()
        for user in _USERS:
            kubeconfig.write(self.config(user), self._certificates, user)
        cgroups.create(CGROUP_ROOT)
        self._start(components.etcd(self.directory))
        self._start(components.api_server(self._certificates))
        others = (self._controller_manager(), self._scheduler(), self._kubelet(kubelet_settings.NEVER_EVICT))
        for component in others:
            self._launch(component)
        self._launch(components.proxy(self.config("proxy"), self._proxy_mode))
        self._launch(self._dns())
        for component in others:
            self._await(component)
        publish_dns(self.api)
        if self._metrics:
            self._start(components.metrics_server(self.directory, self.config("admin")))
            publish_metrics(self.api)
        until("the node to be Ready", self.node_is_ready, seconds=90)

    def stop(self) -> None:
        """The pods, then the components; what the kubelet mounted and the cgroups go too. Idempotent."""
        if "kubelet" in self._running and self._running["kubelet"].process.poll() is None:
            self._remove_pods()
        for name in reversed(self._running):
            self._running[name].stop()
        self._running.clear()
        unmount_below(self.directory / "node")
        cgroups.remove(CGROUP_ROOT)

    def kill_everything(self) -> None:
        """As power does, except for the disk."""
        for name in reversed(self._running):
            self._running[name].kill()
        self._running.clear()

    def restart_kubelet(self, eviction: Mapping[str, str] = kubelet_settings.NEVER_EVICT) -> None:
        """SIGKILL, then start again, perhaps with other eviction thresholds."""
        self.kill_kubelet()
        self.start_kubelet(eviction)

    def kill_kubelet(self) -> None:
        self._running["kubelet"].kill()

    def start_kubelet(self, eviction: Mapping[str, str] = kubelet_settings.NEVER_EVICT) -> None:
        self._start(self._kubelet(eviction))

    @contextmanager
    def without_api_server(self) -> Iterator[None]:
        self._running["kube-apiserver"].stop()
        try:
            yield
        finally:
            self._start(components.api_server(self._certificates))

    @property
    def manifests(self) -> Path:
        """Of static pods."""
        return self.directory / "manifests"

    def config(self, user: str) -> Path:
        return self.directory / f"{user}.conf"

    @property
    def api(self) -> Api:
        return Api(API, self._certificates.certificate("admin"), self._certificates.key("admin"))

    @property
    def kubelet_api(self) -> Api:
        """The kubelet's own, on its secure port."""
        certificates = self._certificates
        return Api(
            f"https://{NODE_ADDRESS}:10250",
            certificates.certificate("kubelet-client"),
            certificates.key("kubelet-client"),
        )

    def kubectl(self, namespace: str) -> Kubectl:
        return Kubectl(program=self.programs / "kubectl", config=self.config("admin"), namespace=namespace)

    def node(self) -> dict[str, object]:
        return self.api.get(f"/api/v1/nodes/{NODE}")

    def node_is_ready(self) -> bool:
        conditions = self.api.get(f"/api/v1/nodes/{NODE}")["status"]["conditions"]
        return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)

    def copy_logs(self, target: Path) -> None:
        """Those of the components and of the runtime."""
        target.mkdir(parents=True, exist_ok=True)
        for log in (self.runtime.log, *(self.directory / "log").iterdir()):
            shutil.copy(log, target)

    def log(self, name: str) -> Path:
        return self.directory / "log" / f"{name}.log"

    def _start(self, component: Component) -> None:
        self._launch(component)
        self._await(component)

    def _launch(self, component: Component) -> None:
        self._running.pop(component.name, None)
        self._running[component.name] = Program(
            component.name, component.command(self.programs), self.log(component.name), cwd=self.directory
        )

    def _await(self, component: Component) -> None:
        self._running[component.name].wait_until(lambda: _healthy(component.health), seconds=120)

    def _controller_manager(self) -> Component:
        return components.controller_manager(self.directory, self._certificates, self.config("controller-manager"))

    def _scheduler(self) -> Component:
        return components.scheduler(self.directory, self.config("scheduler"))

    def _kubelet(self, eviction: Mapping[str, str]) -> Component:
        settings = kubelet_settings.configuration(
            self.directory, self._certificates, self.runtime.endpoint, eviction, quick_restarts=self._quick_restarts
        )
        path = self.directory / "kubelet.json"
        path.write_text(json.dumps(settings, indent=1))
        return components.kubelet(self.directory, path, self.config("kubelet"))

    def _dns(self) -> Component:
        path = self.directory / "Corefile"
        path.write_text(components.dns_configuration(self.config("admin")))
        return components.dns(path)

    def _remove_pods(self) -> None:
        """What makes pods first, or they come again."""
        for kind in ("apps/v1/deployments", "apps/v1/daemonsets", "apps/v1/statefulsets", "batch/v1/jobs"):
            for item in self.api.get(f"/apis/{kind}")["items"]:
                group, _, plural = kind.rpartition("/")
                metadata = item["metadata"]
                self.api.delete(f"/apis/{group}/namespaces/{metadata['namespace']}/{plural}/{metadata['name']}")

        def gone() -> bool:
            items = self.api.get("/api/v1/pods")["items"]
            for item in items:
                metadata = item["metadata"]
                self.api.delete(f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}", grace=1)
            return not items

        until("all pods to go", gone, seconds=90, every=1)


def _healthy(address: str) -> bool:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
    try:
        with opener.open(address, timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
