"""The power fails in the middle of pulls and creates. What the disk then says, and what the daemon makes of it."""

from __future__ import annotations

import random
import threading
import time

import pytest

from e2e.vm.client import CommandTimeout, GuestGone
from e2e.vm.conftest import Node


def _churn(node: Node) -> None:
    try:
        node.inside("churn", timeout=600)
    except (GuestGone, CommandTimeout):
        pass  # the power failed


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    metafunc.parametrize("cut", range(metafunc.config.getoption("--vm-cuts")))


def test_after_a_power_cut_everything_is_whole_or_told(node: Node, cut: int) -> None:
    node.shell("systemctl start bed-registry coracle", timeout=600)
    churning = threading.Thread(target=_churn, args=(node,), daemon=True)
    churning.start()
    time.sleep(random.Random(cut).uniform(15, 40))
    assert churning.is_alive(), "the load ended before the power failed"
    node.guest.reset_hard()
    churning.join(60)
    # The journal is replayed, as a mount would do it; after that nothing may be wrong.
    node.shell("fsck.ext4 -p /dev/vdb; fsck.ext4 -f -n /dev/vdb && mount /dev/vdb /var/lib/coracle", timeout=300)
    assert "EXT4-fs error" not in node.shell("dmesg")
    node.shell("systemctl start bed-registry coracle", timeout=600)
    state = node.inside("state")
    assert "SANDBOX_READY" not in state["pods"].values()  # no process survives a power cut
    assert not {"CONTAINER_RUNNING", "CONTAINER_CREATED"} & set(state["containers"].values())
    assert state["namespaces"] == []
    # Pods that are gone hold no addresses; the reconciler needs a moment for it.
    deadline = time.monotonic() + 60
    while state["addresses"] and time.monotonic() < deadline:
        time.sleep(2)
        state = node.inside("state")
    assert state["addresses"] == {}
    node.shell("coracle check", timeout=600)
    (pod,) = node.inside("pods", "1")
    assert node.inside("state")["containers"][pod["container"]] == "CONTAINER_RUNNING"
    node.inside("clear")
    state = node.inside("state")
    assert (state["pods"], state["containers"], state["addresses"]) == ({}, {}, {})
