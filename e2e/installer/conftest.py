"""One node with Debian's containerd, and the tree that is its host; at the end nothing of either is left."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from e2e import cgroups
from e2e.installer.host import COMMANDS, HostTree
from e2e.installer.image import REPOSITORY, TAG, push_installer
from e2e.installer.systemd import PlainSystemd, run
from e2e.kube import namespace, runtimes, tools
from e2e.kube.api import until
from e2e.kube.cluster import Cluster
from e2e.kube.leftovers import leftovers
from e2e.kube.settings import CGROUP_ROOT, NODE
from e2e.kube.workload import Workload
from e2e.registry import RunningRegistry, running_registry
from e2e.runtime import Runtime

_HERE: Final = Path(__file__).parent
_CHART: Final = _HERE.parents[1] / "helm" / "coracle"
_CGROUP: Final = f"/coracle-ins{os.getpid()}"
_SPACE: Final = "coracle-system"
_SUBNET: Final = "10.96.0.0/24"


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("installer", "the chart on a node")
    group.addoption("--kube-bin", required=True)
    group.addoption("--helm", required=True)
    group.addoption("--image", required=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        item.add_marker(pytest.mark.root)
        item.add_marker(pytest.mark.timeout(1200))


class Chosen:
    """The runtime that the cluster's kubelet is started with: its endpoint is what the tests change."""

    def __init__(self, first: Runtime) -> None:
        self.first = first
        self.endpoint = first.endpoint

    def __getattr__(self, name: str) -> Any:
        return getattr(self.first, name)

    def use(self, endpoint: str) -> None:
        self.endpoint = endpoint


@dataclass(slots=True, kw_only=True)
class Bed:
    cluster: Cluster
    tree: HostTree
    systemd: PlainSystemd
    registry: RunningRegistry
    work: Workload
    containerd: str
    helm_program: Path
    before: dict[str, tuple[int, bytes]]

    def helm(self, *words: str) -> str:
        config = self.cluster.config("admin")
        return run(
            [str(self.helm_program), "--kubeconfig", str(config), "--namespace", _SPACE, *words],
            PATH=os.environ["PATH"],
            HOME=str(self.cluster.directory),
        )

    def values(self, **settings: str) -> list[str]:
        """The release's, as words for helm."""
        fixed = {
            "image.registry": self.registry.address,
            "image.repository": REPOSITORY,
            "image.tag": TAG,
            "install.hostRoot": str(self.tree.root),
            "extraEnv[0].name": "CORACLE_INSTALLER_COMMANDS",
            "extraEnv[0].value": f"/host/{COMMANDS}",
            "install.switch.allowControlPlane": "true",
            "coracle.config": '[network]\nbridge = "co-ins"\n',
        }
        return [f"--set={key}={value}" for key, value in {**fixed, **settings}.items()]

    def node(self) -> dict[str, Any]:
        return self.cluster.api.get(f"/api/v1/nodes/{NODE}")

    def label(self) -> str | None:
        value = self.node()["metadata"]["labels"].get("coracle.io/runtime")
        return None if value is None else str(value)

    def runtime(self) -> str:
        return str(self.node()["status"]["nodeInfo"]["containerRuntimeVersion"]).partition("://")[0]

    def installer_is_ready(self) -> bool:
        path = f"/apis/apps/v1/namespaces/{_SPACE}/daemonsets/coracle"
        found = self.cluster.api.get(path)
        status = found["status"]
        return bool(
            status.get("observedGeneration") == found["metadata"]["generation"]
            and status.get("numberReady") == status.get("updatedNumberScheduled") == 1
        )

    def record(self) -> list[dict[str, Any]]:
        text = self.tree.read("/var/lib/coracle-deploy/journal")
        return [json.loads(line) for line in text.splitlines()]

    def wait(self, what: str, ask: Any, seconds: float = 120) -> None:
        until(what, ask, seconds=seconds, every=0.5)


@pytest.fixture(scope="session")
def bed(request: pytest.FixtureRequest) -> Iterator[Bed]:
    programs = Path(request.config.getoption("--kube-bin"))
    if not namespace.inside():
        pytest.fail("these tests need a network namespace of their own: run `python -m e2e.installer`", pytrace=False)
    assert not tools.missing(programs, tools.CLUSTER)
    namespace.furnish()
    # A short name: the path of the daemon's socket is below it.
    with tempfile.TemporaryDirectory(prefix="co-ins-") as made:
        directory = Path(made)
        with running_registry(directory / "registry") as registry:
            push_installer(registry.client, Path(request.config.getoption("--image")))
            peer = runtimes.containerd(directory, registry)
            peer.start()
            try:
                yield from _with_cluster(request, programs, directory, registry, peer)
            finally:
                runtimes.remove_pods(peer)
                peer.stop()
                peer.clean()
                cgroups.remove(_CGROUP)
        left = leftovers(directory, [CGROUP_ROOT, _CGROUP])
        assert not left, "\n".join(left)


def _with_cluster(
    request: pytest.FixtureRequest, programs: Path, directory: Path, registry: RunningRegistry, peer: Runtime
) -> Iterator[Bed]:
    chosen = Chosen(peer)
    cluster = Cluster(programs, directory, chosen, proxy_mode="nftables")
    tree = HostTree(directory / "host")
    tree.make(peer.endpoint)
    environment = {
        "CORACLE_CONFIG": "",
        "CORACLE_ROOT": f"{tree.root}/var/lib/coracle",
        "CORACLE_RUNROOT": f"{tree.root}/run/coracle",
        "CORACLE_CNI_CONF_DIR": f"{tree.root}/etc/cni/net.d",
        "CORACLE_NETWORK_BRIDGE": "co-ins",
        "CORACLE_NETWORK_SUBNETS": _SUBNET,
        "CORACLE_RUNTIME_CGROUP_ROOT": _CGROUP,
        "CORACLE_CGROUP_MANAGER": "cgroupfs",
    }
    systemd = PlainSystemd(tree, cluster, chosen.use, environment, directory / "log")
    with ExitStack() as stack:
        stack.callback(tree.unmount)
        stack.callback(systemd.close)
        stack.callback(cluster.stop)
        cluster.start()
        tree.give_kubeconfig(cluster)
        systemd.start()
        cluster.api.post("/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": _SPACE}})
        work = Workload(api=cluster.api, kubectl=cluster.kubectl("default"), namespace="default")
        until("the default account", lambda: cluster.api.find("/api/v1/namespaces/default/serviceaccounts/default"))
        yield Bed(
            cluster=cluster,
            tree=tree,
            systemd=systemd,
            registry=registry,
            work=work,
            containerd=peer.endpoint,
            helm_program=Path(request.config.getoption("--helm")),
            before=tree.snapshot(),
        )
