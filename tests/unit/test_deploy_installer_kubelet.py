"""How a kubelet is started, which node that is, and the edits that re-point it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from deploy.installer import names
from deploy.installer.edits import flag_of
from deploy.installer.effects import WriteFile
from deploy.installer.errors import Refused
from deploy.installer.host import Host
from deploy.installer.kubelet.forms import Form, Kubelet, recognise
from deploy.installer.kubelet.plan import repointing
from deploy.installer.kubelet.unit import parse_unit
from tests.fake_node import CONTAINERD, KUBEADM_UNIT

MINIKUBE_UNIT = """\
[Service]
ExecStart=/usr/bin/kubelet
[Service]
ExecStart=
ExecStart=/var/lib/minikube/binaries/v1.37.2/kubelet --config=/var/lib/kubelet/config.yaml \\
  --container-runtime-endpoint=unix:///var/run/cri-dockerd.sock --kubeconfig=/etc/kubernetes/kubelet.conf
"""
CONFIG = f"cgroupDriver: systemd\ncontainerRuntimeEndpoint: {CONTAINERD}\n"


def host_with(directory: Path, files: Mapping[str, str]) -> Host:
    for path, text in files.items():
        place = directory / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    return Host(directory)


def found(host: Host, unit: str = KUBEADM_UNIT) -> Kubelet:
    return recognise(unit, host.exists, host.text)


def written(host: Host, kubelet: Kubelet) -> dict[str, str]:
    effects = list(repointing(kubelet, host))
    return {one.path: one.content.decode() for one in effects if isinstance(one, WriteFile)}


def test_a_unit_is_read_with_its_drop_ins() -> None:
    unit = parse_unit(KUBEADM_UNIT)
    assert unit.exec_start.startswith("/usr/bin/kubelet $KUBELET_KUBECONFIG_ARGS")
    assert unit.environment_files == ("/var/lib/kubelet/kubeadm-flags.env", "/etc/default/kubelet")
    assert unit.uses("KUBELET_EXTRA_ARGS")
    files = {"/etc/default/kubelet": "KUBELET_EXTRA_ARGS=--v=2\n"}
    arguments = unit.arguments(lambda path: files.get(path, ""))
    assert flag_of(arguments, "--config") == "/var/lib/kubelet/config.yaml"
    assert flag_of(arguments, "--v") == "2"


def test_a_file_wins_over_the_environment_of_the_unit() -> None:
    unit = parse_unit('[Service]\nEnvironment="A=--x=1"\nEnvironmentFile=/f\nExecStart=/k ${A}\n')
    assert unit.arguments(lambda path: "A=--x=2\n") == "/k --x=2"
    assert unit.arguments(lambda path: "") == "/k --x=1"


def test_an_empty_assignment_clears_what_was_before() -> None:
    unit = parse_unit("Environment=A=1\nEnvironment=\nEnvironmentFile=/f\nEnvironmentFile=\nExecStart=/a\nExecStart=\n")
    assert (unit.environment, unit.environment_files, unit.exec_start) == ((), (), "")


@pytest.mark.parametrize(
    ("files", "form"),
    [
        ({"/var/lib/kubelet/config.yaml": CONFIG, "/var/lib/kubelet/kubeadm-flags.env": ""}, Form.KUBEADM),
        ({"/kind/version": "v1.37.2", "/var/lib/kubelet/config.yaml": CONFIG}, Form.KIND),
        ({"/var/lib/minikube/.keep": "", "/var/lib/kubelet/config.yaml": CONFIG}, Form.MINIKUBE),
    ],
)
def test_forms_are_told_apart(tmp_path: Path, files: Mapping[str, str], form: Form) -> None:
    kubelet = found(host_with(tmp_path, files))
    assert (kubelet.form, kubelet.endpoint, kubelet.cgroup_driver) == (form, CONTAINERD, "systemd")


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/etc/systemd/system/k3s.service", "/etc/rancher/k3s/config.yaml"),
        ("/etc/systemd/system/k3s-agent.service", "container-runtime-endpoint"),
        ("/var/lib/rancher/rke2/x", "RKE2"),
        ("/var/lib/k0s/x", "--cri-socket remote:"),
        ("/var/snap/microk8s/x", "snap"),
    ],
)
def test_what_would_not_keep_our_edits_is_refused_with_the_way_that_works(
    tmp_path: Path, path: str, words: str
) -> None:
    with pytest.raises(Refused, match=words):
        found(host_with(tmp_path, {path: ""}))


def test_a_host_without_a_kubelet_unit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"knows no kubelet\.service"):
        found(host_with(tmp_path, {}), unit="")


def test_kubeadm_is_repointed_where_it_reads_and_rewrites_its_flags(tmp_path: Path) -> None:
    host = host_with(
        tmp_path,
        {
            "/var/lib/kubelet/config.yaml": CONFIG,
            "/var/lib/kubelet/instance-config.yaml": f'containerRuntimeEndpoint: "{CONTAINERD}"\n',
            "/var/lib/kubelet/kubeadm-flags.env": f'KUBELET_KUBEADM_ARGS="--container-runtime-endpoint={CONTAINERD}"\n',
            "/etc/default/kubelet": "KUBELET_EXTRA_ARGS=--v=2 --runtime-cgroups=/system.slice/containerd.service\n",
        },
    )
    files = written(host, found(host))
    assert files == {
        "/etc/default/kubelet": (
            "KUBELET_EXTRA_ARGS=--v=2 --runtime-cgroups=/system.slice/coracle.service "
            f"--container-runtime-endpoint={names.ENDPOINT}\n"
        ),
        "/var/lib/kubelet/kubeadm-flags.env": f'KUBELET_KUBEADM_ARGS="--container-runtime-endpoint={names.ENDPOINT}"\n',
        "/var/lib/kubelet/config.yaml": f"cgroupDriver: systemd\ncontainerRuntimeEndpoint: {names.ENDPOINT}\n",
        "/var/lib/kubelet/instance-config.yaml": f"containerRuntimeEndpoint: {names.ENDPOINT}\n",
    }


def test_the_variable_is_made_in_the_file_that_the_unit_would_read(tmp_path: Path) -> None:
    host = host_with(tmp_path, {"/var/lib/kubelet/config.yaml": "kind: KubeletConfiguration\n"})
    files = written(host, found(host))
    assert list(files) == ["/etc/default/kubelet"]
    assert files["/etc/default/kubelet"].startswith('KUBELET_EXTRA_ARGS="--container-runtime-endpoint=')


@pytest.mark.parametrize("form", ["minikube", "plain"])
def test_a_unit_without_the_variable_gets_a_drop_in(tmp_path: Path, form: str) -> None:
    files = {"/var/lib/kubelet/config.yaml": "kind: KubeletConfiguration\n"}
    if form == "minikube":
        files["/var/lib/minikube/.keep"] = ""
    host = host_with(tmp_path, files)
    drop_in = written(host, found(host, MINIKUBE_UNIT))[names.KUBELET_DROP_IN]
    again = parse_unit(MINIKUBE_UNIT + drop_in)
    assert flag_of(again.exec_start, "--container-runtime-endpoint") == names.ENDPOINT
    assert flag_of(again.exec_start, "--kubeconfig") == "/etc/kubernetes/kubelet.conf"
    assert "cri-dockerd" not in again.exec_start


def test_a_variable_that_the_unit_itself_sets_is_not_hidden_by_a_file(tmp_path: Path) -> None:
    """An environment file would replace `Environment=KUBELET_EXTRA_ARGS=...` with all that it says."""
    host = host_with(tmp_path, {"/var/lib/kubelet/config.yaml": "kind: KubeletConfiguration\n"})
    unit = KUBEADM_UNIT + '[Service]\nEnvironment="KUBELET_EXTRA_ARGS=--node-ip=10.0.0.1"\n'
    assert list(written(host, found(host, unit))) == [names.KUBELET_DROP_IN]


def test_planning_again_over_our_own_edits_changes_nothing(tmp_path: Path) -> None:
    host = host_with(tmp_path, {"/var/lib/kubelet/config.yaml": CONFIG, "/etc/default/kubelet": ""})
    first = written(host, found(host))
    for path, text in first.items():
        host.locate(path).write_text(text)
    assert written(host, found(host)) | first == first
