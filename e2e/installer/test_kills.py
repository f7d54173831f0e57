"""The installer killed (SIGKILL) in every stage of an install, a switch and an uninstall, pod and host alike."""

from __future__ import annotations

from e2e.installer.conftest import Bed
from e2e.installer.killer import Killer
from e2e.installer.steps import assert_as_before, deployed, mark, running_on

INSTALL = {"artifacts intended", "configuration intended", "unit intended"}
SWITCH = {"hand-over intended", "switch requested", "switch running", "kubelet intended"}
# What is undone after these is gone within milliseconds, the record with it: too short to be sure to hit it.
UNINSTALL = {"switch reverting", "kubelet undone", "hand-over undone", "unit undone"}


def test_killed_in_every_stage_it_ends_all_the_same(bed: Bed) -> None:
    deployed(bed)
    bed.wait("the application", lambda: running_on(bed, "containerd"))
    mark(bed, "true")
    with Killer(bed.tree) as killer:
        settings = {"install.mode": "switch", "install.switch.readyTimeoutSeconds": "120"}
        bed.helm("install", "coracle", "helm/coracle", *bed.values(**settings))
        bed.wait("the label", lambda: bed.label() == "ready", 400)
        bed.wait("the installer", bed.installer_is_ready, 200)
        bed.wait("the application", lambda: running_on(bed, "coracle"))
        bed.helm("uninstall", "coracle", "--timeout", "400s")
    assert set(killer.hit) >= INSTALL | SWITCH | UNINSTALL, killer.hit
    assert_as_before(bed)
    mark(bed, None)
