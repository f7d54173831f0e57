"""The suite's options, the runtime under test, and the differences that are expected of it.

A test that is listed in differences/RUNTIME.toml must fail there (a strict xfail): the list stays true by itself. Only
one whose reason begins with "sometimes" may pass as well.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from e2e.client import Client
from e2e.cri.pods import Pods
from e2e.cri.target import RUNTIMES, Target, target

_HERE: Final = Path(__file__).parent


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("cri", "CRI conformance")
    group.addoption(
        "--cri-endpoint",
        default=os.environ.get("CRI_ENDPOINT", ""),
        help="unix:// address of a running runtime (CRI_ENDPOINT); without one a runtime is started",
    )
    group.addoption("--cri-runtime", default="coracle", choices=RUNTIMES, help="which one is started")
    group.addoption("--cri-differences", default=None, help="a name in differences/; by default that of --cri-runtime")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    known = differences(config)
    for item in items:
        if _HERE not in item.path.parents:
            continue
        item.add_marker(pytest.mark.root)
        name = f"{item.path.name}::{item.name}"
        reason = known.get(name) or known.get(name.partition("[")[0])
        if reason:
            item.add_marker(pytest.mark.xfail(reason=reason, strict=not reason.startswith("sometimes")))


def differences(config: pytest.Config) -> dict[str, str]:
    """Test (file::function, with or without its parameters) -> reason."""
    name = config.getoption("--cri-differences")
    if name is None:
        name = "" if config.getoption("--cri-endpoint") else config.getoption("--cri-runtime")
    path = _HERE / "differences" / f"{name}.toml"
    if not name or not path.exists():
        return {}
    table = tomllib.loads(path.read_text())
    return {f"test_{topic}.py::test_{test}": why for topic, tests in table.items() for test, why in tests.items()}


@pytest.fixture(scope="session")
def runtime(request: pytest.FixtureRequest) -> Iterator[Target]:
    options = request.config
    with target(endpoint=options.getoption("--cri-endpoint"), runtime=options.getoption("--cri-runtime")) as running:
        yield running


@pytest.fixture
def pods(runtime: Target) -> Iterator[Pods]:
    """Makes pods; those that a test leaves are removed after it."""
    made = Pods(runtime)
    yield made
    made.remove_all()


@pytest.fixture
def client(runtime: Target) -> Client:
    return runtime.client
