"""What all tests share: the marker `root`, which skips with the reason where root is missing."""

from __future__ import annotations

import os

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.geteuid() == 0:
        return
    skip = pytest.mark.skip(reason="needs root: mounts, namespaces and cgroups are made for real")
    for item in items:
        if item.get_closest_marker("root"):
            item.add_marker(skip)
