"""An operator's day with the chart, each test going on where the one before it ended."""

from __future__ import annotations

import os
import signal

import pytest

from e2e.installer.conftest import Bed
from e2e.installer.host import ENDPOINT
from e2e.installer.steps import assert_as_before, deployed, mark, running_on
from e2e.installer.systemd import pids_of

SETTINGS = "/etc/coracle/coracle.toml.d/50-installer.toml"
CHANGED = 'log_level = "debug"\n[network]\nbridge = "co-ins"\n'


def test_install_leaves_the_kubelet_and_its_pods_alone(bed: Bed) -> None:
    deployed(bed)
    bed.wait("the application", lambda: running_on(bed, "containerd"))
    bed.helm("install", "coracle", "helm/coracle", *bed.values())
    bed.wait("the installer", bed.installer_is_ready)
    assert bed.label() == "installed"
    assert bed.runtime() == "containerd"
    assert "enable coracle.service" in bed.systemd.told
    assert not [line for line in bed.systemd.told if line.startswith(("start kubelet", "stop kubelet"))]
    assert running_on(bed, "containerd")
    assert bed.tree.read("/etc/default/kubelet") == "KUBELET_EXTRA_ARGS=\n"


def test_the_charts_own_test_passes(bed: Bed) -> None:
    assert "Phase:          Succeeded" in bed.helm("test", "coracle", "--timeout", "120s")


def test_an_installer_killed_at_work_begins_again_and_ends(bed: Bed) -> None:
    """The daemon gets other settings; the pod dies (SIGKILL) while systemd restarts the daemon."""
    bed.systemd.held.add("restart coracle.service")
    bed.helm("upgrade", "coracle", "helm/coracle", *bed.values(**{"coracle.config": CHANGED}))
    bed.wait("the restart", lambda: "restart coracle.service" in bed.systemd.told)
    working = pids_of("--payload=/payload")
    assert working
    for pid in working:
        os.kill(pid, signal.SIGKILL)
    bed.systemd.held.clear()
    bed.wait("the installer", bed.installer_is_ready)
    assert bed.systemd.told.count("restart coracle.service") == 2
    open_steps = {entry["record"]["number"]: entry["record"]["phase"] for entry in bed.record() if "record" in entry}
    assert set(open_steps.values()) == {"done"}
    assert CHANGED in bed.tree.read(SETTINGS)


def test_helm_rollback_brings_the_former_settings_back(bed: Bed) -> None:
    """Revision 1 is the install; the daemon that had other settings is restarted with the first ones."""
    before = bed.systemd.told.count("restart coracle.service")
    bed.helm("rollback", "coracle", "1")
    bed.wait("the former settings", lambda: CHANGED not in bed.tree.read(SETTINGS))
    bed.wait("the installer", bed.installer_is_ready)
    assert bed.systemd.told.count("restart coracle.service") == before + 1
    assert bed.label() == "installed"
    assert bed.runtime() == "containerd"
    assert running_on(bed, "containerd")


def test_a_runtime_that_brings_no_node_back_is_rolled_back_by_the_host(bed: Bed) -> None:
    bed.systemd.silent = True
    settings = {"install.mode": "switch", "install.switch.readyTimeoutSeconds": "30"}
    bed.helm("upgrade", "coracle", "helm/coracle", *bed.values(**settings))
    mark(bed, "true")
    bed.wait("the roll-back", lambda: bed.label() == "failed", 300)
    node = bed.node()
    assert node["metadata"]["annotations"]["coracle.io/message"].startswith("rolled back: the node shows containerd")
    assert not node["spec"].get("unschedulable")
    assert not [one for one in node["spec"].get("taints", []) if one["key"] == "coracle.io/switching"]
    assert bed.runtime() == "containerd"
    bed.wait("the application", lambda: running_on(bed, "containerd"))
    assert bed.tree.read("/etc/default/kubelet") == "KUBELET_EXTRA_ARGS=\n"
    assert "start coracle-rollback.timer" in bed.systemd.told
    assert not bed.installer_is_ready()


def test_the_next_attempt_switches_although_the_hosts_part_is_killed(bed: Bed) -> None:
    bed.systemd.silent = False
    bed.systemd.held.add("stop kubelet.service")
    settings = {"install.mode": "switch", "install.switch.attempt": "2", "install.switch.readyTimeoutSeconds": "120"}
    stops = bed.systemd.told.count("stop kubelet.service")
    bed.helm("upgrade", "coracle", "helm/coracle", *bed.values(**settings))
    bed.wait("the host's part", lambda: bed.systemd.told.count("stop kubelet.service") > stops, 180)
    program = bed.systemd.program("coracle-switch.service")
    assert program is not None
    program.process.kill()
    bed.systemd.held.clear()
    bed.wait("the node to show Coracle", lambda: bed.runtime() == "coracle", 180)
    bed.wait("the label", lambda: bed.label() == "ready", 300)
    bed.wait("the installer", bed.installer_is_ready, 300)
    bed.wait("the application", lambda: running_on(bed, "coracle"))
    node = bed.node()
    assert not node["spec"].get("unschedulable")
    assert not node["spec"].get("taints")
    assert f"--container-runtime-endpoint={ENDPOINT}" in bed.tree.read("/etc/default/kubelet")
    assert "coracle-rollback.timer" not in bed.systemd.enabled | bed.systemd.active


def test_a_pod_by_the_runtime_class_runs(bed: Bed) -> None:
    assert bed.helm("test", "coracle", "--timeout", "180s").count("Phase:          Succeeded") == 2


def test_uninstall_leaves_the_node_as_it_was(bed: Bed) -> None:
    bed.helm("uninstall", "coracle", "--timeout", "400s")
    assert_as_before(bed)


@pytest.fixture(autouse=True)
def _in_order(request: pytest.FixtureRequest) -> None:
    """What comes after a failure would fail for its sake."""
    if request.session.testsfailed:
        pytest.skip("a test before this one failed")
