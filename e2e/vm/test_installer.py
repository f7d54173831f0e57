"""The bundle and its installer under a real systemd, on a node that never had either; and what an uninstall leaves."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from e2e.vm.conftest import Node
from e2e.vm.inside import BUSYBOX

_BUNDLE = "/root/bundle"
_INSTALLER = f"{_BUNDLE}/bin/coracle-installer"
_PATIENCE_S = 1800.0
#: What the bed, the system's own services and the package tools keep to themselves.
_NOT_OURS = ("/var/lib/systemd", "/var/lib/dpkg", "/var/lib/apt", "/var/lib/private", "/opt/venv", "/etc/bed")
_KEPT = ("/etc", "/opt", "/usr", "/var")
_AS_BEFORE = """\
find /etc /opt /usr/local /var/lib /var/cache -xdev \\( {prune} \\) -prune -o -printf '%p %M %U:%G %l\\n' | sort
find /etc /usr/local -xdev -type f -exec sha256sum {{}} + | sort
ls -d /run/coracle /run/netns/* /sys/fs/cgroup/*coracle* 2>/dev/null
ip -o link | cut -d: -f2
nft list tables
systemctl list-unit-files --no-pager --no-legend
systemctl list-units --all --no-pager --no-legend --plain 'coracle*'
ps -eo comm,args | grep -i [c]oracle | grep -v /srv/coracle/
true
"""


@pytest.fixture(scope="module")
def bare(node: Node, request: pytest.FixtureRequest) -> Iterator[Node]:
    """The node without the bed's daemon. What an administrator may have put there before us stays: /etc/default/coracle
    and a drop-in of the unit."""
    if not request.config.getoption("--vm-bundle"):
        pytest.skip("needs --vm-bundle")
    node.inside("clear", timeout=900)
    node.shell(
        "systemctl stop coracle; rm /etc/systemd/system/coracle.service /usr/local/bin/coracle; "
        "systemctl daemon-reload; "
        "ip link delete coracle0; nft delete table inet coracle-coracle0; "
        "umount /var/lib/coracle; rm -rf /var/lib/coracle /run/coracle /var/lib/cni /etc/coracle; "
        f"rm -rf {_BUNDLE}; mkdir {_BUNDLE}", timeout=900,
    )  # fmt: skip
    node.shell(f"tar -xzf .cache/bundle.tar.gz -C {_BUNDLE} --strip-components=1; sync", timeout=_PATIENCE_S)
    yield node
    node.inside("setup", timeout=900)
    node.start()


def _seen(node: Node) -> list[str]:
    prune = " -o ".join(f"-path {path}" for path in _NOT_OURS)
    return node.shell(_AS_BEFORE.format(prune=prune), timeout=_PATIENCE_S).splitlines()


def _runs_a_pod(node: Node) -> None:
    (pod,) = node.inside("pods", "1", timeout=_PATIENCE_S)
    state = node.inside("state")
    assert state["containers"] == {pod["container"]: "CONTAINER_RUNNING"}
    assert state["images"] == [BUSYBOX]


def test_install_and_uninstall_under_systemd(bare: Node) -> None:
    before = _seen(bare)
    plan = bare.shell(f"{_INSTALLER} install --payload {_BUNDLE} --plan", timeout=_PATIENCE_S)
    assert "enable and start coracle.service" in plan
    assert _seen(bare) == before
    bare.shell(f"{_INSTALLER} install --payload {_BUNDLE}", timeout=_PATIENCE_S)
    assert (bare.property("ActiveState"), bare.property("UnitFileState")) == ("active", "enabled")
    program = bare.shell(f"tr '\\0' '\\n' < /proc/{bare.property('MainPID')}/cmdline; "
                         f"readlink /proc/{bare.property('MainPID')}/exe")  # fmt: skip
    assert "/opt/coracle/" in program
    assert "/srv/coracle" not in program
    _runs_a_pod(bare)
    pid = bare.property("MainPID")
    again = bare.shell(f"{_INSTALLER} install --payload {_BUNDLE}", timeout=_PATIENCE_S)
    assert (again.split(), bare.property("MainPID")) == (["install", "done"], pid)
    bare.shell(f"{_INSTALLER} verify", timeout=_PATIENCE_S)
    bare.shell(f"{_INSTALLER} uninstall", timeout=_PATIENCE_S)
    assert _seen(bare) == before


def test_an_install_that_the_power_interrupts_is_finished_or_undone(bare: Node) -> None:
    """The record is on the disk before each step, so it knows after the boot what was under way."""
    before = _seen(bare)
    bare.shell(f"{_INSTALLER} install --payload {_BUNDLE} > /root/install.log 2>&1 &")
    bare.until('grep -q \'"kind":"tree"\' /var/lib/coracle-deploy/journal', patience=_PATIENCE_S)
    bare.guest.reset_hard(600)
    steps = json.loads(bare.shell(f"{_INSTALLER} status --json", timeout=_PATIENCE_S))["steps"]
    assert {step["phase"] for step in steps if step["kind"] == "tree"} == {"intended"}
    bare.shell(f"{_INSTALLER} install --payload {_BUNDLE}", timeout=_PATIENCE_S)
    bare.shell("systemctl start bed-registry")
    _runs_a_pod(bare)
    bare.shell(f"{_INSTALLER} uninstall", timeout=_PATIENCE_S)
    after = _seen(bare)
    assert not set(after) - set(before)
    assert [line for line in before if line not in after and line.startswith(_KEPT)] == []  # a boot clears the rest
