"""The installer killed with SIGKILL at every step of every verb: each is resumed, and an uninstall leaves no trace.

A child process does the work and kills itself at its n-th step, for every n; a step is any point before, after or
between two changes of the host, the record, systemd or the node object. CORACLE_KILL_EVERY=1 takes every step (over 700
runs, half a minute of processor time), the default one of seven.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deploy.installer import install, names
from deploy.installer.cluster.node import NodeState
from deploy.installer.switching import agent
from deploy.installer.switching.state import SwitchState, read_switch
from tests.fake_node import CONTAINERD, FakeNode

EVERY = int(os.environ.get("CORACLE_KILL_EVERY", "7"))

Work = Callable[[FakeNode, Callable[[str], None]], None]


def quiet(stage: str, line: str) -> None:
    """Nobody reads the reports of these runs."""


def do_install(node: FakeNode, step: Callable[[str], None]) -> None:
    install.install(node.context(step=step), quiet)


def do_switch(node: FakeNode, step: Callable[[str], None]) -> None:
    """Pod and host in one process: what the pod is killed in, the next pod or the host's unit goes on with."""
    do_install(node, step)
    install.switch(node.context(step=step), quiet)
    agent.switch(node.context(step=step, on_host=True))
    install.finish(node.context(step=step), quiet)


def do_uninstall(node: FakeNode, step: Callable[[str], None]) -> None:
    while install.revert(node.context(step=step), quiet) not in (None, *install.ENDED_BACK):
        agent.switch(node.context(step=step, on_host=True))
        agent.roll_back(node.context(step=step, on_host=True))
    install.remove(node.context(step=step), quiet)


class Killer:
    """Kills this process at its `at`-th step."""

    def __init__(self, at: int) -> None:
        self._left = at

    def __call__(self, step: str) -> None:
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


def killed(work: Work, node: FakeNode, at: int) -> bool:
    """Whether the child was killed before its end; an error in it fails the test."""
    child = os.fork()
    if child == 0:
        try:
            work(node, Killer(at))
            os._exit(0)
        except BaseException:
            traceback.print_exc(file=sys.stderr)
            os._exit(1)
    status = os.waitpid(child, 0)[1]
    assert not os.WIFEXITED(status) or os.WEXITSTATUS(status) == 0, f"the run that ends at step {at} failed"
    return os.WIFSIGNALED(status)


@pytest.fixture(name="memory")
def _memory(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory in memory: hundreds of runs that sync each step would wait for the disk all the time."""
    monkeypatch.setattr("os.sync", lambda: None)
    place = Path("/dev/shm")
    directory = Path(tempfile.mkdtemp(prefix="coracle-kills-", dir=place if os.access(place, os.W_OK) else None))
    yield directory
    shutil.rmtree(directory)


def prepared(memory: Path, name: str, *work: Work) -> FakeNode:
    node = FakeNode.make(memory / name)
    for each in work:
        each(node, lambda step: None)
    return node


def copies(memory: Path, original: FakeNode) -> Iterator[tuple[int, FakeNode]]:
    """A fresh copy of a prepared node for each run, and the step to kill at, without end."""
    at = 1 - EVERY
    base = original.root.parent
    while True:
        at += EVERY
        target = memory / "run"
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(base, target, symlinks=True)
        yield at, FakeNode(root=target / "host", state=target / "state", payload=target / "payload")


def sweep(memory: Path, original: FakeNode, work: Work, check: Callable[[FakeNode, int], None]) -> int:
    """Kills `work` at every step, does it again whole, and asks `check`. Answers how many steps there were."""
    for at, node in copies(memory, original):
        if not killed(work, node, at):
            return at - 1
        work(node, lambda step: None)
        check(node, at)
    raise AssertionError("unreachable")


def test_an_install_killed_anywhere_is_resumed_and_leaves_no_trace(memory: Path) -> None:
    golden = prepared(memory, "golden", do_install)
    before, after = prepared(memory, "fresh"), golden.snapshot(without=[names.RECORD])

    def check(node: FakeNode, at: int) -> None:
        assert node.snapshot(without=[names.RECORD]) == after, at
        assert node.get("units") == golden.get("units"), at
        assert node.get("node")["labels"] == {names.LABEL: NodeState.INSTALLED.value}
        do_uninstall(node, lambda step: None)
        assert node.snapshot() == before.snapshot(), at
        assert node.get("node") == before.get("node"), at
        assert node.get("units") == before.get("units"), at

    assert sweep(memory, before, do_install, check) > 60


def test_what_an_install_left_when_killed_can_be_uninstalled_at_once(memory: Path) -> None:
    before = prepared(memory, "fresh")
    for at, node in copies(memory, before):
        ended = not killed(do_install, node, at)
        do_uninstall(node, lambda step: None)
        assert node.snapshot() == before.snapshot(), at
        assert node.get("node") == before.get("node"), at
        if ended:
            break


def test_an_uninstall_killed_anywhere_is_resumed(memory: Path) -> None:
    before = prepared(memory, "fresh")

    def check(node: FakeNode, at: int) -> None:
        assert node.snapshot() == before.snapshot(), at
        assert node.get("units") == before.get("units"), at
        assert node.get("node") == before.get("node"), at

    assert sweep(memory, prepared(memory, "installed", do_install), do_uninstall, check) > 40


def test_a_switch_killed_anywhere_is_resumed_and_reverted(memory: Path) -> None:
    before = prepared(memory, "fresh")
    golden = prepared(memory, "golden", do_switch).snapshot(without=[names.RECORD])

    def check(node: FakeNode, at: int) -> None:
        assert node.snapshot(without=[names.RECORD]) == golden, at
        assert node.get("kubelet")["endpoint"] == names.ENDPOINT, at
        assert node.get("node")["labels"] == {names.LABEL: NodeState.READY.value}, at
        assert (node.get("node")["taints"], node.get("node")["cordoned"]) == (False, False), at
        do_uninstall(node, lambda step: None)
        assert node.snapshot() == before.snapshot(), at
        assert node.get("kubelet")["endpoint"] == CONTAINERD, at
        assert node.get("node") == before.get("node"), at

    assert sweep(memory, prepared(memory, "installed", do_install), do_switch, check) > 120


def test_a_roll_back_killed_anywhere_is_resumed(memory: Path) -> None:
    before = prepared(memory, "fresh")
    broken = prepared(memory, "broken", do_install)
    broken.mark("broken")
    install.switch(broken.context(), quiet)
    installed = broken.snapshot(without=[names.RECORD])

    def host(node: FakeNode, step: Callable[[str], None]) -> None:
        agent.switch(node.context(step=step, on_host=True))

    def check(node: FakeNode, at: int) -> None:
        switch = read_switch(node.context().journal)
        assert switch is not None
        assert switch.state is SwitchState.ROLLED_BACK, at
        assert node.snapshot(without=[names.RECORD]) == installed, at
        assert node.get("kubelet")["endpoint"] == CONTAINERD, at
        do_uninstall(node, lambda step: None)
        assert node.snapshot() == before.snapshot(), at

    assert sweep(memory, broken, host, check) > 80
