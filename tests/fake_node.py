"""A node of a cluster that is only files: a host's root, its systemd, its kubelet and the node object.

All of its state lies in files, so that it outlives a process that is killed in the middle, as a real node does. The
kubelet "runs" what its files say when it is started: the node object then shows the runtime at that endpoint.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.installer import names
from deploy.installer.cluster.node import NodeState
from deploy.installer.commands import Done
from deploy.installer.context import Context, SwitchSettings
from deploy.installer.host import Host, Step, unwatched
from deploy.installer.journal import Journal
from deploy.installer.payload import read_payload

CONTAINERD = "unix:///run/containerd/containerd.sock"
KUBEADM_UNIT = """\
# /usr/lib/systemd/system/kubelet.service
[Unit]
Description=kubelet: The Kubernetes Node Agent

[Service]
ExecStart=/usr/bin/kubelet
Restart=always

# /usr/lib/systemd/system/kubelet.service.d/10-kubeadm.conf
[Service]
Environment="KUBELET_KUBECONFIG_ARGS=--kubeconfig=/etc/kubernetes/kubelet.conf"
Environment="KUBELET_CONFIG_ARGS=--config=/var/lib/kubelet/config.yaml"
EnvironmentFile=-/var/lib/kubelet/kubeadm-flags.env
EnvironmentFile=-/etc/default/kubelet
ExecStart=
ExecStart=/usr/bin/kubelet $KUBELET_KUBECONFIG_ARGS $KUBELET_CONFIG_ARGS $KUBELET_KUBEADM_ARGS $KUBELET_EXTRA_ARGS
"""
_FILES = {
    "/etc/machine-id": "0123456789abcdef0123456789abcdef\n",
    "/etc/crictl.yaml": f"runtime-endpoint: {CONTAINERD}\n",
    "/etc/default/kubelet": "# by kind\nKUBELET_EXTRA_ARGS=--runtime-cgroups=/system.slice/containerd.service\n",
    "/var/lib/kubelet/config.yaml": (
        "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\ncgroupDriver: systemd\n"
        f"containerRuntimeEndpoint: {CONTAINERD}\nfailSwapOn: false\n"
    ),
    "/var/lib/kubelet/instance-config.yaml": f'containerRuntimeEndpoint: "{CONTAINERD}"\n',
    "/var/lib/kubelet/kubeadm-flags.env": 'KUBELET_KUBEADM_ARGS="--pod-infra-container-image=pause:3.10"\n',
    "/etc/systemd/system/.keep": "",
    "/run/systemd/system/.keep": "",
    "/opt/.keep": "",
}


@dataclass(slots=True)
class FakeNode:
    """`broken`: pods never run on the new runtime, so the node does not come back. `lost`: on neither."""

    root: Path
    state: Path
    payload: Path
    step: Step = unwatched

    @classmethod
    def make(cls, directory: Path) -> FakeNode:
        node = cls(root=directory / "host", state=directory / "state", payload=directory / "payload")
        for path, text in _FILES.items():
            place = node.root / path.lstrip("/")
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text)
        (node.root / "etc/default/kubelet").chmod(0o640)
        node.state.mkdir(parents=True)
        node._make_payload()
        node.put("units", {"kubelet.service": [True, True], "containerd.service": [True, True]})
        node.put("files", {"kubelet.service": KUBEADM_UNIT})
        node.put("node", {"labels": {}, "annotations": {}, "taints": False, "cordoned": False})
        node.put("calls", [])
        node.put("kubelet", {"endpoint": CONTAINERD, "starts": 1})
        return node

    def _make_payload(self) -> None:
        for name, text in {
            "bin/coracle": "the daemon",
            "bin/coracle-installer": "the host's part",
            "lib/libz.so": "a library",
            "share/systemd/coracle.service": "[Service]\nExecStart=/opt/coracle/current/bin/coracle serve\n",
            "manifest.json": '{"name": "coracle", "version": "0.1.0"}',
            "SHA256SUMS": "0000  bin/coracle\n",
        }.items():
            path = self.payload / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        (self.payload / "bin/coracle").chmod(0o755)
        (self.payload / "lib/libz.so.1").symlink_to("libz.so")

    # -- its state ---------------------------------------------------------------------------------------------------

    def get(self, name: str) -> Any:
        return json.loads((self.state / name).read_text())

    def put(self, name: str, value: Any) -> None:
        partial = self.state / f".{name}"
        partial.write_text(json.dumps(value))
        partial.replace(self.state / name)

    def set(self, name: str, **values: Any) -> None:
        self.put(name, {**self.get(name), **values})

    def is_set(self, flag: str) -> bool:
        return (self.state / flag).exists()

    def mark(self, flag: str) -> None:
        (self.state / flag).touch()

    def calls(self) -> list[str]:
        return list(self.get("calls"))

    def read(self, path: str) -> str:
        return (self.root / path.lstrip("/")).read_text()

    def snapshot(self, *, without: Sequence[str] = ()) -> dict[str, tuple[str, int, str]]:
        """Every path of the host with its kind, mode and content."""
        found = {}
        for parent, directories, files in os.walk(self.root):
            for name in [*directories, *files]:
                path = Path(parent, name)
                host_path = "/" + str(path.relative_to(self.root))
                if any(host_path == one or host_path.startswith(f"{one}/") for one in without):
                    continue
                status = path.lstat()
                if path.is_symlink():
                    found[host_path] = ("link", 0, os.readlink(path))
                elif path.is_dir():
                    found[host_path] = ("directory", stat.S_IMODE(status.st_mode), "")
                else:
                    found[host_path] = ("file", stat.S_IMODE(status.st_mode), path.read_text())
        return found

    def healthz(self, port: int) -> str:
        ours = self.get("kubelet")["endpoint"] == names.ENDPOINT
        return "the kubelet says 500" if self.is_set("lost") or (ours and self.is_set("broken")) else ""

    # -- what the installer is given ---------------------------------------------------------------------------------

    def context(self, *, step: Step = unwatched, on_host: bool = False, purge: bool = True, **switch: Any) -> Context:
        host = Host(self.root, step)
        return Context(
            host=host,
            commands=FakeCommands(self, step),
            journal=Journal(host),
            node=None if on_host else NodeFile(self, step),
            payload=None if on_host else read_payload(self.payload),
            purge=purge,
            healthz=self.healthz,
            switch=SwitchSettings(**{"any_node": True, "ready_timeout_s": 0, **switch}),
        )


class FakeCommands:
    """systemctl and the daemon's command line, on the node's files."""

    def __init__(self, node: FakeNode, step: Step) -> None:
        self._node = node
        self._step = step

    def run(self, argv: Sequence[str], timeout: float = 0) -> Done:
        line = " ".join([argv[0].rpartition("/")[2], *argv[1:]])
        self._step(f"before: {line}")
        self._node.put("calls", [*self._node.get("calls"), line])
        done = self._systemctl(*argv[1:]) if argv[0] == "systemctl" else self._program(line)
        self._step(f"after: {line}")
        return done

    def _systemctl(self, verb: str, *rest: str) -> Done:
        unit = rest[-1] if rest else ""
        units = self._node.get("units")
        enabled, active = units.get(unit, [False, False])
        match verb:
            case "is-enabled":
                return _status(enabled)
            case "is-active":
                return _status(active)
            case "cat":
                return self._cat(unit)
            case "show":
                return Done(status=0, output="active\n" if active else "inactive\n")
            case "enable" | "disable":
                units[unit] = [verb == "enable", active]
            case "start" | "restart" | "stop":
                units[unit] = [enabled, verb != "stop"]
                if unit == names.UNIT and verb != "stop":
                    units[names.SLICE] = [False, True]  # systemd's own doing, when the first pod comes
                if unit == "kubelet.service" and verb == "start":
                    self._kubelet_starts()
        self._node.put("units", {name: value for name, value in units.items() if any(value)})
        return Done(status=0, output="")

    def _cat(self, unit: str) -> Done:
        text = self._node.get("files").get(unit, "")
        for drop_in in sorted((self._node.root / f"etc/systemd/system/{unit}.d").glob("*.conf")):
            text += drop_in.read_text()
        return Done(status=0 if text else 1, output=text)

    def _kubelet_starts(self) -> None:
        """A reading of the kubelet's files that shares nothing with the installer's."""
        config = re.search(r"containerRuntimeEndpoint: \"?([^\"\n]+)", self._node.read("/var/lib/kubelet/config.yaml"))
        endpoint = config.group(1) if config else CONTAINERD
        texts = [self._node.read("/var/lib/kubelet/kubeadm-flags.env"), self._node.read("/etc/default/kubelet")]
        drop_in = self._node.root / names.KUBELET_DROP_IN.lstrip("/")
        texts += [drop_in.read_text()] if drop_in.exists() else []
        for text in texts:
            for flag in re.findall(r"--container-runtime-endpoint=([^\s\"]+)", text):
                endpoint = flag
        self._node.put("kubelet", {"endpoint": endpoint, "starts": self._node.get("kubelet")["starts"] + 1})

    def _program(self, line: str) -> Done:
        running = self._node.get("units").get(names.UNIT, [False, False])[1]
        if line == "coracle status":
            text = f"coracle 0.1.0 at {names.ENDPOINT}\n" if running else "coracle: no daemon answers\n"
            return Done(status=0 if running else 1, output=text)
        if line.startswith("coracle pull"):
            return _status(not self._node.is_set("no-registry"))
        return Done(status=0, output="")


class NodeFile:
    """The seam `Node` on a file."""

    name = "worker-1"

    def __init__(self, node: FakeNode, step: Step) -> None:
        self._node = node
        self._step = step

    def machine_id(self) -> str:
        return "0123456789abcdef0123456789abcdef"

    def labels(self) -> Mapping[str, str]:
        return dict(self._node.get("node")["labels"])

    def state(self) -> NodeState | None:
        value = self.labels().get(names.LABEL)
        return NodeState(value) if value else None

    def set_state(self, state: NodeState, message: str = "") -> None:
        self._change(labels={**self.labels(), names.LABEL: state.value})
        self.annotate(names.MESSAGE_ANNOTATION, message or None)

    def forget(self) -> None:
        self._change(labels={key: value for key, value in self.labels().items() if key != names.LABEL}, taints=False)
        self.annotate(names.MESSAGE_ANNOTATION, None)

    def is_cordoned(self) -> bool:
        return bool(self._node.get("node")["cordoned"])

    def cordon(self, on: bool) -> None:
        self._change(cordoned=on)

    def taint(self, on: bool) -> None:
        self._change(taints=on)

    def annotation(self, key: str) -> str | None:
        value = self._node.get("node")["annotations"].get(key)
        return None if value is None else str(value)

    def annotate(self, key: str, value: str | None) -> None:
        old = self._node.get("node")["annotations"]
        self._change(annotations={**{k: v for k, v in old.items() if k != key}, **({key: value} if value else {})})

    def runtime_version(self) -> str:
        ours = self._node.get("kubelet")["endpoint"] == names.ENDPOINT
        return "coracle://0.1.0" if ours else "containerd://1.7.0"

    def kubelet_version(self) -> str:
        return "v1.37.2"

    def is_ready(self) -> bool:
        return True

    def drain(self, timeout_s: float) -> None:
        self._change(drained=True)

    def _change(self, **values: Any) -> None:
        self._step(f"before: node {values}")
        self._node.set("node", **values)
        self._step(f"after: node {values}")


def _status(good: bool) -> Done:
    return Done(status=0 if good else 1, output="")
