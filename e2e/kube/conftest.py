"""One cluster for all modules, a namespace for each; at the end nothing of either is left on the machine."""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from e2e.daemon import Daemon
from e2e.images.catalog import ImageNames, push_test_images
from e2e.kube import namespace, runtimes, tools
from e2e.kube.api import until
from e2e.kube.cluster import Cluster
from e2e.kube.images import push_health_server, push_shell
from e2e.kube.leftovers import leftovers
from e2e.kube.settings import CGROUP_ROOT
from e2e.kube.workload import Workload
from e2e.registry import RunningRegistry, running_registry

_HERE: Final = Path(__file__).parent
_NUMBERS = itertools.count(1)


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("kube", "a Kubernetes node")
    group.addoption("--kube-bin", default=os.environ.get("KUBE_BIN", ""), help="directory of the programs (KUBE_BIN)")
    group.addoption("--kube-keep", help="copy the logs of the runtime and of all components to this directory")
    group.addoption("--kube-proxy-mode", default="nftables", choices=("nftables", "iptables"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What restarts everything comes last."""
    items.sort(key=lambda item: item.path == _HERE / "test_restarts.py")
    for item in items:
        if _HERE in item.path.parents:
            item.add_marker(pytest.mark.root)
            item.add_marker(pytest.mark.timeout(300))


@pytest.fixture(scope="session")
def programs(request: pytest.FixtureRequest) -> Path:
    directory = Path(request.config.getoption("--kube-bin") or "missing")
    if absent := tools.missing(directory, (*tools.CLUSTER, tools.METRICS)):
        pytest.fail(tools.how_to_build(directory, absent), pytrace=False)
    if not namespace.inside():
        pytest.fail("these tests need a network namespace of their own: run `python -m e2e.kube`", pytrace=False)
    return directory.resolve()


@pytest.fixture(scope="session")
def directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="coracle-kube-") as made:
        yield Path(made)


@pytest.fixture(scope="session")
def registry(programs: Path, directory: Path) -> Iterator[RunningRegistry]:
    namespace.furnish()
    with running_registry(directory / "registry") as running:
        yield running


@pytest.fixture(scope="session")
def images(registry: RunningRegistry) -> ImageNames:
    return push_test_images(registry.client)


@pytest.fixture(scope="session")
def shell(registry: RunningRegistry) -> str:
    """An image that can look up names, and has curl."""
    return push_shell(registry.client)


@pytest.fixture(scope="session")
def health_server(registry: RunningRegistry, programs: Path) -> str:
    return push_health_server(registry.client, programs)


@pytest.fixture(scope="session")
def daemon(directory: Path, registry: RunningRegistry) -> Iterator[Daemon]:
    started = runtimes.coracle(directory)
    try:
        started.start()
        yield started
        # A pod that the kubelet left behind would be a finding.
        assert not list(started.client.pods())
    finally:
        started.stop()
        started.clean()
    left = leftovers(directory, [CGROUP_ROOT, started.settings.cgroup])
    assert not left, "\n".join(left)


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest, programs: Path, directory: Path, daemon: Daemon) -> Iterator[Cluster]:
    proxy_mode = request.config.getoption("--kube-proxy-mode")
    made = Cluster(programs, directory, daemon, proxy_mode=proxy_mode, metrics=True)
    try:
        made.start()
        yield made
    finally:
        if keep := request.config.getoption("--kube-keep"):
            made.copy_logs(Path(keep))
        made.stop()
        # The kubelet removes dead sandboxes once a minute: this is not what is tested.
        daemon.client.remove_all()


@pytest.fixture(scope="module")
def work(cluster: Cluster) -> Iterator[Workload]:
    """A namespace for the module."""
    name = f"test-{next(_NUMBERS)}"
    api = cluster.api
    api.post("/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    until("the default account", lambda: api.find(f"/api/v1/namespaces/{name}/serviceaccounts/default"))
    yield Workload(api=api, kubectl=cluster.kubectl(name), namespace=name)
    api.delete(f"/api/v1/namespaces/{name}")
