"""One node for all tests; at the end nothing of it is left."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from e2e import cgroups
from e2e.daemon import Daemon
from e2e.images.catalog import ImageNames, push_test_images
from e2e.kube import namespace, runtimes, tools
from e2e.kube.images import push_shell
from e2e.kube.leftovers import leftovers
from e2e.kube.settings import CGROUP_ROOT
from e2e.kubeadm import host
from e2e.kubeadm.images import push_node_images, repository
from e2e.kubeadm.node import KubeadmNode
from e2e.registry import running_registry


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("kubeadm", "a node made by kubeadm")
    group.addoption("--kube-bin", required=True, help="directory of the programs")
    group.addoption("--kube-keep", help="copy the logs to this directory")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        item.add_marker(pytest.mark.root)
        item.add_marker(pytest.mark.timeout(900))


@dataclass(frozen=True, slots=True, kw_only=True)
class Bed:
    node: KubeadmNode
    daemon: Daemon
    images: ImageNames
    shell: str


@pytest.fixture(scope="session")
def bed(request: pytest.FixtureRequest) -> Iterator[Bed]:
    programs = Path(request.config.getoption("--kube-bin"))
    if not namespace.inside():
        pytest.fail("these tests need namespaces of their own: run `python -m e2e.kubeadm`", pytrace=False)
    assert not tools.missing(programs, (*tools.CLUSTER, tools.KUBEADM))
    namespace.furnish()
    with tempfile.TemporaryDirectory(prefix="co-adm-") as made, ExitStack() as stack:
        directory = Path(made)
        host.cover(directory)
        stack.callback(host.uncover)
        registry = stack.enter_context(running_registry(directory / "registry"))
        push_node_images(registry.client, programs)
        daemon = runtimes.coracle(directory)
        stack.callback(_assert_nothing_left, directory, daemon)
        stack.callback(cgroups.remove, CGROUP_ROOT)
        stack.callback(daemon.clean)
        stack.callback(daemon.stop)
        daemon.start()
        node = KubeadmNode(programs, directory, daemon, repository(registry.client))
        # Asked for then: a restarted daemon has a new client.
        stack.callback(lambda: daemon.client.remove_all())
        stack.callback(node.stop_kubelet)
        if keep := request.config.getoption("--kube-keep"):
            stack.callback(_copy, node, Path(keep))
        yield Bed(node=node, daemon=daemon, images=push_test_images(registry.client), shell=push_shell(registry.client))


def _copy(node: KubeadmNode, target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for log in node.logs():
        shutil.copy(log, target)


def _assert_nothing_left(directory: Path, daemon: Daemon) -> None:
    left = leftovers(directory, [CGROUP_ROOT, daemon.settings.cgroup])
    assert not left, "\n".join(left)
