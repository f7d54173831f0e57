"""The power fails in the middle of pulls and creates. What the disk then says, and what the daemon makes of it."""

from __future__ import annotations

import json
import random
import threading
import time

import pytest

from e2e.vm.client import CommandTimeout, GuestGone
from e2e.vm.conftest import Node
from e2e.vm.inside import BUSYBOX, CHURNED

_PATIENCE_S = 600.0


def _churn(node: Node) -> None:
    try:
        node.inside("churn", timeout=2 * _PATIENCE_S)
    except (GuestGone, CommandTimeout):
        pass  # the power failed


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    metafunc.parametrize("cut", range(metafunc.config.getoption("--vm-cuts")))


def test_after_a_power_cut_everything_is_whole_or_told(node: Node, cut: int) -> None:
    node.shell("systemctl start bed-registry coracle", timeout=900)
    (kept,) = node.inside("pods", "1")
    node.shell(f"rm -f {CHURNED}; sync")
    churned = _fail_in_the_middle(node, cut)
    # The journal is replayed, as a mount would do it; after that nothing may be wrong.
    node.shell("fsck.ext4 -p /dev/vdb; fsck.ext4 -f -n /dev/vdb && mount /dev/vdb /var/lib/coracle", timeout=300)
    assert "EXT4-fs error" not in node.shell("dmesg")
    node.shell("systemctl start bed-registry coracle", timeout=900)
    state = node.inside("state")
    print(f"cut {cut} after {churned}: {state}")
    assert "SANDBOX_READY" not in state["pods"].values()  # no process survives a power cut
    assert not {"CONTAINER_RUNNING", "CONTAINER_CREATED"} & set(state["containers"].values())
    assert state["namespaces"] == []
    # What was on the disk before it all began is there.
    assert kept["sandbox"] in state["pods"]
    assert state["containers"][kept["container"]] == "CONTAINER_EXITED"
    assert BUSYBOX in state["images"]
    # Pods that are gone hold no addresses; the reconciler needs a moment for it.
    deadline = time.monotonic() + _PATIENCE_S
    while state["addresses"] and time.monotonic() < deadline:
        time.sleep(2)
        state = node.inside("state")
    assert state["addresses"] == {}
    node.shell("coracle check", timeout=900)
    (pod,) = node.inside("pods", "1")
    assert node.inside("state")["containers"][pod["container"]] == "CONTAINER_RUNNING"
    node.inside("clear")
    state = node.inside("state")
    assert (state["pods"], state["containers"], state["addresses"]) == ({}, {}, {})


def _fail_in_the_middle(node: Node, cut: int) -> dict[str, int]:
    """Cuts the power some moments after the first pull and the first pod; answers how many there had been."""
    churning = threading.Thread(target=_churn, args=(node,), daemon=True)
    churning.start()
    deadline = time.monotonic() + _PATIENCE_S
    while not (churned := _churned(node))["pulls"] or not churned["pods"]:
        assert churning.is_alive(), "the load ended before the power failed"
        assert time.monotonic() < deadline, f"no pull and no pod within {_PATIENCE_S:.0f} s: {churned}"
        time.sleep(2)
    time.sleep(random.Random(cut).uniform(0, 25))
    churned = _churned(node)
    assert churning.is_alive(), "the load ended before the power failed"
    node.guest.reset_hard(_PATIENCE_S)
    churning.join(60)
    return churned


def _churned(node: Node) -> dict[str, int]:
    found = node.shell(f"cat {CHURNED} 2>/dev/null || true")
    return {"pulls": 0, "pods": 0} | (json.loads(found) if found else {})
