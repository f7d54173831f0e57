"""The command `coracle-installer`: plans, refusals, exit statuses; and what the pod serves afterwards."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from deploy.installer import names
from deploy.installer.cli import main
from deploy.installer.host import Host
from deploy.installer.presence import Presence, PresenceServer
from tests.fake_api import FakeApi, serving
from tests.fake_node import FakeNode

SYSTEMCTL = """\
#!/bin/sh
# A systemd that is a directory: units/NAME.enabled and units/NAME.active.
units="$(dirname "$0")/../units"
mkdir -p "$units"
verb=$1; shift
for unit; do :; done
echo "$verb $unit" >> "$units/../told"
case $verb in
is-enabled) test -e "$units/$unit.enabled";;
is-active) test -e "$units/$unit.active";;
enable) : > "$units/$unit.enabled";;
disable) rm -f "$units/$unit.enabled";;
start|restart) : > "$units/$unit.active";;
stop) rm -f "$units/$unit.active";;
cat) test "$unit" = kubelet.service && cat "$units/../kubelet";;
esac
"""
CORACLE = """\
#!/bin/sh
test "$1" != status || echo "coracle 0.1.0 at unix:///run/coracle/coracle.sock"
"""


@pytest.fixture(name="node")
def _node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeNode:
    monkeypatch.setattr("os.sync", lambda: None)
    for name in ("NODE_NAME", "CORACLE_INSTALLER_NODE", "CORACLE_INSTALLER_STAY"):
        monkeypatch.delenv(name, raising=False)
    node = FakeNode.make(tmp_path)
    commands = tmp_path / "commands"
    commands.mkdir()
    for name, text in (("systemctl", SYSTEMCTL), ("coracle", CORACLE)):
        (commands / name).write_text(text)
        (commands / name).chmod(0o755)
    (tmp_path / "kubelet").write_text(node.get("files")["kubelet.service"])
    return node


def place(node: FakeNode) -> list[str]:
    return ["--host-root", str(node.root), "--commands", str(node.root.parent / "commands")]


def run(node: FakeNode, verb: str, *arguments: str) -> Result:
    payload = ["--payload", str(node.payload)] if verb in ("install", "switch") else []
    return CliRunner().invoke(main, [verb, *place(node), *payload, *arguments])


def test_the_help_begins_with_a_sentence_and_hides_the_hosts_verbs() -> None:
    output = CliRunner().invoke(main, ["--help"]).output
    assert "Puts Coracle on a node of a cluster" in output
    for verb in ("install", "switch", "verify", "uninstall", "status"):
        assert f"\n  {verb} " in output
    assert "host-switch" not in output


def test_the_hosts_verbs_load_no_kubernetes_client(tmp_path: Path) -> None:
    code = (
        "import sys; from deploy.installer.cli import main\n"
        "try: main(['host-rollback', '--host-root', sys.argv[1], '--commands', sys.argv[1]])\n"
        "except SystemExit as error: assert not error.code, error\n"
        "sys.exit('kubernetes' in sys.modules)"
    )
    (tmp_path / "var/lib").mkdir(parents=True)
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "not asked for" in done.stdout


def test_install_verify_status_uninstall_on_a_machine_in_no_cluster(node: FakeNode) -> None:
    before = node.snapshot()
    result = run(node, "install")
    assert result.exit_code == 0, result.output
    assert "unit           enable and start coracle.service" in result.output
    assert run(node, "verify").exit_code == 0
    status = json.loads(run(node, "status", "--json").output)
    assert status["switch"] is None
    assert {step["phase"] for step in status["steps"]} == {"done"}
    assert "coracle.service" in run(node, "status").output
    assert run(node, "uninstall").exit_code == 0
    assert node.snapshot() == before
    assert run(node, "status").output == "nothing is installed here\n"
    assert run(node, "verify").exit_code == 1


def test_a_switch_by_the_command_line_alone(node: FakeNode) -> None:
    with serving(FakeApi(always={})) as kubelet:
        config = node.root / "var/lib/kubelet/config.yaml"
        config.write_text(f"{config.read_text()}healthzPort: {kubelet.port}\n")
        _switch_and_back(node)


def _switch_and_back(node: FakeNode) -> None:
    before = node.snapshot()
    assert run(node, "install").exit_code == 0
    plan = run(node, "switch", "--plan").output
    assert "on the host: stop kubelet.service" in plan
    assert "/etc/default/kubelet" in plan

    told = node.root.parent / "told"
    code = (
        f"import sys; sys.argv[1:] = {['host-switch', *place(node)]!r}; from deploy.installer.cli import main; main()"
    )
    commands = node.root.parent / "commands"
    systemctl = (commands / "systemctl").read_text()
    # What systemd would do at the start of the unit.
    starts = (
        'case "$verb $unit" in "start coracle-switch.service") '
        f"{sys.executable} -c '{code.replace(chr(39), chr(34))}' >&2;; "
        f'"start coracle-rollback.service") {sys.executable} -c '
        f"'{code.replace('host-switch', 'host-rollback').replace(chr(39), chr(34))}' >&2;; esac\n"
    )
    (commands / "systemctl").write_text(systemctl + starts)
    result = run(node, "switch", "--any-node", "--ready-timeout", "1")
    assert result.exit_code == 0, result.output
    assert "the switch is committed" in result.output
    assert names.ENDPOINT in node.read("/etc/default/kubelet")
    assert "stop kubelet.service" in told.read_text()
    assert run(node, "verify").exit_code == 0
    assert "revert" in run(node, "uninstall", "--plan").output
    result = run(node, "uninstall")
    assert result.exit_code == 0, result.output
    assert node.snapshot() == before


def test_a_refusal_is_a_sentence_and_a_status(node: FakeNode) -> None:
    (node.root / "var/lib/rancher/k3s").mkdir(parents=True)
    assert run(node, "install").exit_code == 0
    result = run(node, "switch", "--any-node")
    assert result.exit_code == 1
    assert "coracle-installer: this is a k3s node" in result.output
    assert "/etc/rancher/k3s/config.yaml" in result.output


def test_a_payload_that_is_none_is_refused(node: FakeNode, tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["install", *place(node), "--payload", str(tmp_path)])
    assert result.exit_code == 1
    assert "point --payload at an unpacked bundle" in result.output


def test_a_configuration_that_is_no_toml_is_refused_before_anything_is_changed(node: FakeNode, tmp_path: Path) -> None:
    before = node.snapshot()
    (tmp_path / "bad.toml").write_text("a = [")
    result = run(node, "install", "--config", str(tmp_path / "bad.toml"))
    assert result.exit_code == 1
    assert "is no TOML" in result.output
    assert node.snapshot() == before


def test_the_hook_waits_until_no_node_carries_the_label(tmp_path: Path) -> None:
    with serving(FakeApi()) as api:
        kubeconfig = str(api.kubeconfig(tmp_path))
        result = CliRunner().invoke(main, ["wait-uninstalled", "--kubeconfig", kubeconfig, "--timeout", "1"])
        assert result.exit_code == 1
        assert "not removed from worker-1" in result.output
        api.always = {"items": []}
        result = CliRunner().invoke(main, ["wait-uninstalled", "--kubeconfig", kubeconfig])
        assert result.exit_code == 0


# -- what the pod serves ------------------------------------------------------------------------------------------


@contextmanager
def present(presence: Presence) -> Iterator[str]:
    server = PresenceServer("127.0.0.1", 0, presence)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_readiness_is_the_daemons_socket_and_a_whole_record(node: FakeNode) -> None:
    run(node, "install")
    presence = Presence(host=Host(node.root), metrics_url="")
    with present(presence) as url:
        assert get(f"{url}/healthz") == (200, "ok\n")
        status, text = get(f"{url}/readyz")
        assert status == 503
        assert "nothing answers at /run/coracle/coracle.sock" in text
        (node.root / "run/coracle").mkdir()
        with socket.socket(socket.AF_UNIX) as listening:
            # A path below a test's directory is too long for the kernel's address of a socket.
            directory = os.open(node.root / "run/coracle", os.O_PATH)
            listening.bind(f"/proc/self/fd/{directory}/coracle.sock")
            os.close(directory)
            listening.listen()
            connectable = len(str(node.root / "run/coracle/coracle.sock")) < 100
            assert get(f"{url}/readyz") == (200, "ready\n") or not connectable
        assert get(f"{url}/other")[0] == 404
        assert "coracle_installer_ready 0" in get(f"{url}/metrics")[1]
        assert 'coracle_installer_switch{state="installed"} 1' in get(f"{url}/metrics")[1]


def test_the_daemons_metrics_are_handed_on(node: FakeNode) -> None:
    with serving(FakeApi()) as api:
        api.always = {"theirs": 1}
        presence = Presence(host=Host(node.root), metrics_url=f"http://127.0.0.1:{api.port}/metrics")
        assert presence.metrics().endswith(b'{"theirs": 1}')
    assert presence.metrics().endswith(b"1\n")


def test_after_an_uninstall_ready_means_that_nothing_is_left(node: FakeNode) -> None:
    presence = Presence(host=Host(node.root), metrics_url="", removed=True)
    assert presence.problem() == ""
    run(node, "install")
    assert presence.problem() == "the record is still there"


def test_a_pod_that_waits_for_the_mark_begins_again(node: FakeNode, tmp_path: Path) -> None:
    """The whole way: not marked, a waiting process that serves, the label, and the command anew."""
    with serving(FakeApi()) as api, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
        free.close()
        kubeconfig = str(api.kubeconfig(tmp_path))
        then = json.dumps([sys.executable, "-c", "print('begun again')"])
        argv = [sys.executable, "-m", "deploy.installer", "stay", address, "--node", "worker-1", "--kubeconfig"]
        argv += [kubeconfig, "--marked-then", then, "--look", "0.05", *place(node)]
        waiting = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
        try:
            for _ in range(200):
                try:
                    assert get(f"http://{address}/healthz")[0] == 200
                    break
                except urllib.error.URLError:
                    time.sleep(0.05)
            assert waiting.poll() is None
            api.node["metadata"]["labels"][names.SWITCH_LABEL] = "true"
            assert waiting.communicate(timeout=30)[0] == "begun again\n"
        finally:
            waiting.kill()
            waiting.wait()
