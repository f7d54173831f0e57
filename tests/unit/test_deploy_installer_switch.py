"""The switch: who may ask, what the host does, and how each way back ends."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from deploy.installer import install, names
from deploy.installer.cluster.node import NodeState
from deploy.installer.errors import NotVerified, Refused
from deploy.installer.follow import follow
from deploy.installer.stages.permission import NotAsked
from deploy.installer.switching import agent
from deploy.installer.switching.state import MOVES, SwitchState, move, read_switch
from deploy.installer.verify import findings
from tests.fake_node import CONTAINERD, FakeNode


def quiet(stage: str, line: str) -> None:
    """Nobody reads the reports of these runs."""


@pytest.fixture(name="node")
def _node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeNode:
    monkeypatch.setattr("os.sync", lambda: None)
    node = FakeNode.make(tmp_path)
    install.install(node.context(), quiet)
    return node


def switched(node: FakeNode) -> None:
    install.switch(node.context(), quiet)
    agent.switch(node.context(on_host=True))
    install.finish(node.context(), quiet)


def test_an_install_leaves_the_kubelet_alone(node: FakeNode) -> None:
    assert node.get("kubelet") == {"endpoint": CONTAINERD, "starts": 1}
    assert not [call for call in node.calls() if "kubelet" in call]
    assert node.read("/etc/crictl.yaml") == f"runtime-endpoint: {CONTAINERD}\n"
    assert [one.question for one in findings(node.context()) if not one.good] == []


def test_nobody_is_switched_who_was_not_marked(node: FakeNode) -> None:
    with pytest.raises(NotAsked, match=r"kubectl label node worker-1 coracle\.io/switch=true"):
        install.switch(node.context(any_node=False), quiet)
    node.set("node", labels={**node.get("node")["labels"], names.SWITCH_LABEL: "true"})
    assert install.switch(node.context(any_node=False), quiet) is SwitchState.REQUESTED


def test_a_control_plane_node_needs_a_word_more(node: FakeNode) -> None:
    node.set("node", labels={**node.get("node")["labels"], names.CONTROL_PLANE_LABEL: ""})
    with pytest.raises(Refused, match="allowControlPlane"):
        install.switch(node.context(), quiet)
    assert install.switch(node.context(allow_control_plane=True), quiet) is SwitchState.REQUESTED


def test_a_refused_switch_changes_nothing(node: FakeNode) -> None:
    before, cluster = node.snapshot(), node.get("node")
    with pytest.raises(NotAsked):
        install.switch(node.context(any_node=False), quiet)
    assert node.snapshot() == before
    assert node.get("node") == cluster


def test_the_host_stops_the_kubelet_and_the_old_pods_before_it_changes_a_file(node: FakeNode) -> None:
    (node.root / "etc/kubernetes/manifests").mkdir(parents=True)
    (node.root / "etc/kubernetes/manifests/etcd.yaml").write_text("spec:\n  containers:\n  - image: etcd:3.6\n")
    install.switch(node.context(images=("proxy:1",)), quiet)
    began = len(node.calls())
    agent.switch(node.context(on_host=True))
    told = [call for call in node.calls()[began:] if " is-" not in call and " cat " not in call]
    assert told == [
        "coracle status",
        "coracle pull --quiet etcd:3.6",
        "coracle pull --quiet proxy:1",
        "systemctl enable --quiet coracle-rollback.timer",
        "systemctl start coracle-rollback.timer",
        "systemctl stop kubelet.service",
        f"coracle clear --listen {CONTAINERD}",
        "systemctl daemon-reload",
        "systemctl start --no-block kubelet.service",
        "systemctl disable --quiet coracle-rollback.timer",
        "systemctl disable --quiet coracle-switch.service",
        "systemctl stop coracle-rollback.timer",
    ]
    assert node.read("/etc/crictl.yaml").startswith(f"runtime-endpoint: {names.ENDPOINT}\n")


def test_a_switched_node_is_open_ready_and_verified(node: FakeNode) -> None:
    node.set("node", annotations={names.CRI_SOCKET_ANNOTATION: CONTAINERD})
    switched(node)
    state = node.get("node")
    assert state["labels"] == {names.LABEL: NodeState.READY.value}
    assert (state["taints"], state["cordoned"]) == (False, False)
    assert state["annotations"] == {names.CRI_SOCKET_ANNOTATION: names.ENDPOINT}
    assert [one.question for one in findings(node.context()) if not one.good] == []


def test_who_had_cordoned_the_node_finds_it_cordoned(node: FakeNode) -> None:
    node.set("node", cordoned=True)
    switched(node)
    assert node.get("node")["cordoned"]


def test_an_image_that_cannot_be_pulled_stops_the_switch_before_the_kubelet(node: FakeNode) -> None:
    node.mark("no-registry")
    install.switch(node.context(images=("proxy:1",)), quiet)
    assert agent.switch(node.context(on_host=True)) is SwitchState.ROLLED_BACK
    assert "systemctl stop kubelet.service" not in node.calls()
    assert node.get("kubelet")["endpoint"] == CONTAINERD


def test_a_runtime_that_runs_no_pods_is_rolled_back_and_not_tried_again(node: FakeNode) -> None:
    before = node.snapshot(without=[names.RECORD])
    node.mark("broken")
    switched(node)
    assert node.get("kubelet")["endpoint"] == CONTAINERD
    changed = {path for path, what in node.snapshot(without=[names.RECORD]).items() if before.get(path) != what}
    assert {path.rpartition("/")[2] for path in changed} <= {
        names.SWITCH_UNIT,
        names.ROLLBACK_UNIT,
        names.ROLLBACK_TIMER,
    }
    state = node.get("node")
    assert state["labels"] == {names.LABEL: NodeState.FAILED.value}
    assert state["annotations"][names.MESSAGE_ANNOTATION].startswith("rolled back: the kubelet says")
    assert (state["taints"], state["cordoned"]) == (False, False)
    with pytest.raises(NotVerified, match="rolled back here before"):
        install.switch(node.context(), quiet)
    (node.state / "broken").unlink()
    assert install.switch(node.context(attempt="2"), quiet) is SwitchState.REQUESTED
    assert agent.switch(node.context(on_host=True)) is SwitchState.COMMITTED


def test_a_node_that_comes_back_on_neither_runtime_stays_closed(node: FakeNode) -> None:
    node.mark("lost")
    switched(node)
    state = node.get("node")
    assert state["labels"] == {names.LABEL: NodeState.FAILED.value}
    assert state["annotations"][names.MESSAGE_ANNOTATION].startswith("needs a person: ")
    assert state["taints"]
    (node.state / "lost").unlink()
    assert agent.roll_back(node.context(on_host=True)) is SwitchState.ROLLED_BACK
    install.finish(node.context(), quiet)
    assert not node.get("node")["taints"]


def test_the_timer_leaves_a_committed_switch_alone(node: FakeNode) -> None:
    switched(node)
    assert agent.roll_back(node.context(on_host=True)) is SwitchState.COMMITTED
    assert node.get("kubelet")["endpoint"] == names.ENDPOINT


def test_the_timer_ends_a_switch_that_does_not_end(node: FakeNode) -> None:
    install.switch(node.context(), quiet)
    assert agent.roll_back(node.context(on_host=True)) is SwitchState.ROLLED_BACK
    switch = read_switch(node.context().journal)
    assert switch is not None
    assert switch.reason == "the switch did not end in time"
    assert agent.switch(node.context(on_host=True)) is SwitchState.ROLLED_BACK


def test_nothing_is_removed_while_the_kubelet_uses_it(node: FakeNode) -> None:
    switched(node)
    with pytest.raises(Refused, match="revert the switch first"):
        install.remove(node.context(), quiet)


def test_what_others_set_meanwhile_survives_the_way_back(node: FakeNode) -> None:
    switched(node)
    place = node.root / "etc/default/kubelet"
    place.write_text(place.read_text().rstrip("\n") + " --v=4\n")
    install.revert(node.context(), quiet)
    agent.roll_back(node.context(on_host=True))
    install.remove(node.context(), quiet)
    expected = "# by kind\nKUBELET_EXTRA_ARGS=--runtime-cgroups=/system.slice/containerd.service --v=4\n"
    assert place.read_text() == expected


def test_data_is_kept_on_request(node: FakeNode) -> None:
    (node.root / "var/lib/coracle").mkdir()
    (node.root / "var/lib/coracle/state.db").touch()
    reports = install.remove(node.context(purge=False), quiet)
    assert reports == ["/var/lib/coracle stays, as was asked"]
    assert (node.root / "var/lib/coracle/state.db").exists()


def test_the_daemons_network_goes_with_it(node: FakeNode) -> None:
    drop_in = node.root / names.CONFIG_DROP_IN.lstrip("/")
    drop_in.write_text('[network]\nbridge = "br7"\n')
    install.remove(node.context(), quiet)
    clear, stop = node.calls().index("coracle clear"), node.calls().index("systemctl stop coracle.service")
    assert clear < stop < node.calls().index("ip link delete br7")
    assert "nft delete table inet coracle-br7" in node.calls()


def test_data_that_was_there_before_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sync", lambda: None)
    node = FakeNode.make(tmp_path)
    (node.root / "var/lib/coracle").mkdir()
    before = node.snapshot()
    install.install(node.context(), quiet)
    install.remove(node.context(), quiet)
    assert node.snapshot() == before


def test_the_script_puts_the_files_back_without_us(node: FakeNode, tmp_path: Path) -> None:
    before = node.snapshot(without=[names.RECORD])
    install.switch(node.context(), quiet)
    handed = node.snapshot(without=[names.RECORD])
    agent.switch(node.context(on_host=True))
    root = str(node.root)
    text = node.read(names.ROLLBACK_SCRIPT)
    for top in ("/etc/", "/var/", "/opt/"):
        text = text.replace(top, f"{root}{top}")
    bin = tmp_path / "bin"
    bin.mkdir()
    (bin / "systemctl").write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/told\n')
    (bin / "systemctl").chmod(0o755)
    subprocess.run(["sh", "-c", text], env={"PATH": f"{bin}:/usr/bin:/bin"}, check=True, stderr=subprocess.DEVNULL)
    assert node.snapshot(without=[names.RECORD]) == handed
    assert {path for path in handed if path not in before} <= {
        f"{names.UNIT_DIRECTORY}/{unit}" for unit in (names.SWITCH_UNIT, names.ROLLBACK_UNIT, names.ROLLBACK_TIMER)
    }
    assert (tmp_path / "told").read_text().splitlines()[-3:] == [
        "daemon-reload",
        "start containerd.service",
        "start kubelet.service",
    ]


def test_the_pod_starts_a_host_unit_that_is_not_there_any_more(node: FakeNode) -> None:
    install.switch(node.context(), quiet)
    node.set("units", **{names.SWITCH_UNIT: [True, False]})

    def pause(seconds: float) -> None:
        assert node.get("units")[names.SWITCH_UNIT][1]
        agent.switch(node.context(on_host=True))

    assert follow(node.context(), 60, now=lambda: 0.0, sleep=pause) is SwitchState.COMMITTED


def test_a_killed_host_unit_comes_again(node: FakeNode) -> None:
    """With the kubelet stopped nobody else would start it."""
    install.switch(node.context(), quiet)
    for unit, policy in ((names.SWITCH_UNIT, "on-failure"), (names.ROLLBACK_UNIT, "on-abnormal")):
        assert f"\nRestart={policy}\n" in node.read(f"{names.UNIT_DIRECTORY}/{unit}")


def test_another_build_under_the_same_version_is_refused(node: FakeNode) -> None:
    (node.payload / "SHA256SUMS").write_text("1111  bin/coracle\n")
    with pytest.raises(Refused, match=r"holds another build of version 0\.1\.0"):
        install.install(node.context(), quiet)


def test_an_upgrade_restarts_the_daemon_and_is_undone_to_the_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.sync", lambda: None)
    node = FakeNode.make(tmp_path)
    before = node.snapshot()
    install.install(node.context(), quiet)
    (node.payload / "manifest.json").write_text(json.dumps({"version": "0.2.0"}))
    (node.payload / "SHA256SUMS").write_text("2222  bin/coracle\n")
    install.install(node.context(), quiet)
    assert (node.root / "opt/coracle/current").readlink() == Path("0.2.0")
    assert "systemctl restart coracle.service" in node.calls()
    install.remove(node.context(), quiet)
    assert node.snapshot() == before


def test_a_machine_that_is_another_node_is_refused(tmp_path: Path) -> None:
    node = FakeNode.make(tmp_path)
    (node.root / "etc/machine-id").write_text("f" * 32)
    with pytest.raises(Refused, match="is not that of node worker-1"):
        install.install(node.context(), quiet)


@pytest.mark.parametrize("verb", ["install", "switch", "uninstall"])
def test_a_plan_says_what_is_done_and_changes_nothing(tmp_path: Path, verb: str) -> None:
    node = FakeNode.make(tmp_path)
    if verb == "uninstall":
        install.install(node.context(), quiet)
    before, cluster, units = node.snapshot(), node.get("node"), node.get("units")
    lines = install.plan(node.context(), verb)
    assert len(lines) > 5
    assert not [line for _, line in lines if "REFUSED" in line]
    assert (node.snapshot(), node.get("node"), node.get("units")) == (before, cluster, units)


def test_a_plan_names_what_is_refused_and_goes_on_where_only_a_mark_is_missing(node: FakeNode) -> None:
    lines = [line for _, line in install.plan(node.context(any_node=False), "switch")]
    assert lines[0].startswith("REFUSED: node worker-1 is not marked")
    assert any("stop kubelet.service" in line for line in lines)


def test_the_table_of_moves_is_whole(node: FakeNode) -> None:
    assert set(MOVES) == {None, *SwitchState}
    assert {to for targets in MOVES.values() for to in targets} == set(SwitchState)
    journal = node.context().journal
    with journal.locked(), pytest.raises(ValueError, match="cannot become committed"):
        move(journal, SwitchState.COMMITTED)
