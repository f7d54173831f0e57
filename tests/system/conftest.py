"""What the system tests stand on: a real registry, real images, a real daemon, and the check that nothing is left.

Every test here runs as root against `coracle serve` as a process of its own. The daemon is shared by the tests of a
module: it is removed, and the machine compared with what it was, when the module ends. Each test too must leave no pod.
"""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from e2e import cgroups, leaks
from e2e.daemon import Daemon, DaemonSettings, running_daemon
from e2e.images.catalog import ImageNames, push_test_images
from e2e.registry import RunningRegistry, running_registry
from tests.system.pods import Pods

_NUMBERS = itertools.count()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.root)


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningRegistry]:
    with running_registry(tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture(scope="session")
def images(registry: RunningRegistry) -> ImageNames:
    return push_test_images(registry.client)


@pytest.fixture(scope="module")
def machine(registry: RunningRegistry) -> Iterator[leaks.Snapshot]:
    """The machine before the module's daemon; compared with it after the daemon has gone."""
    before = leaks.snapshot()
    yield before
    left = leaks.leaked(before)
    assert not left, "\n".join(left)


@pytest.fixture(scope="module")
def make_daemon(machine: leaks.Snapshot) -> Iterator[Callable[..., Daemon]]:
    """Starts daemons with roots of their own, short enough for socket paths; all are gone after the module."""
    running = []

    def make(**settings: object) -> Daemon:
        name = f"t{os.getpid() % 10000}x{next(_NUMBERS)}"
        directory = Path(tempfile.mkdtemp(prefix="coracle-"))
        context = running_daemon(DaemonSettings(name=name, directory=directory, **settings))  # type: ignore[arg-type]
        daemon = context.__enter__()
        running.append(context)
        return daemon

    yield make
    for context in reversed(running):
        context.__exit__(None, None, None)


@pytest.fixture(scope="module")
def daemon(make_daemon: Callable[..., Daemon], images: ImageNames) -> Daemon:
    started = make_daemon()
    started.client.pull(images.busybox)
    return started


@pytest.fixture
def pods(daemon: Daemon, images: ImageNames, tmp_path: Path) -> Iterator[Pods]:
    """Makes pods of the module's daemon; those a test leaves are removed after it, and then nothing of them is left."""
    before = _traces(daemon)
    parent = f"{daemon.settings.cgroup}-pods"
    cgroups.create(parent)
    made = Pods(daemon, images, logs=tmp_path / "logs", cgroup=parent)
    yield made
    made.remove_all()
    cgroups.remove(parent)
    assert _traces(daemon) == before
    shutil.rmtree(tmp_path, ignore_errors=True)


def _traces(daemon: Daemon) -> list[str]:
    """What a daemon keeps for pods: their directories, their namespaces, their records."""
    found = [f"pod {pod.id}" for pod in daemon.client.pods()]
    found += [f"container {container.id}" for container in daemon.client.containers()]
    for directory in (daemon.runroot / "sandboxes", daemon.runroot / "bundles", daemon.root / "containers"):
        found += [str(entry) for entry in directory.iterdir()] if directory.is_dir() else []
    found += [f"shim {pid}" for pid in daemon.monitors()]
    return sorted(found)
