"""The host that the installer sees: a directory with a kubelet's files, and stand-ins for systemctl and coracle.

ROOT/
├── etc/ opt/ run/ var/     the host; compared before and after
├── .commands/              systemctl, coracle: what the installer runs
└── .bus/                   questions of systemctl and their answers
"""

from __future__ import annotations

import base64
import json
import os
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from e2e.disk import unmount_below
from e2e.kube.cluster import Cluster
from e2e.kube.settings import API

COMMANDS: Final = ".commands"
BUS: Final = ".bus"
ENDPOINT: Final = "unix:///run/coracle/coracle.sock"

# Written for busybox in the pod as well as for the machine's own shell.
_SYSTEMCTL: Final = """\
#!/bin/sh
bus="$(dirname "$0")/../.bus"
id="$(cat /proc/sys/kernel/random/uuid)"
printf '%s\\n' "$@" > "$bus/.$id"
mv "$bus/.$id" "$bus/$id.ask"
while ! test -e "$bus/$id.answer"; do sleep 0.1; done
sed -n '2,$p' "$bus/$id.answer"
exit "$(sed -n 1p "$bus/$id.answer")"
"""

# The program that was installed, and its socket where the host has it.
_CORACLE: Final = """\
#!/bin/sh
root="$(cd "$(dirname "$0")/.." && pwd)"
verb=$1
shift
for word; do
    shift
    test "$word" = unix:///run/coracle/coracle.sock && word="unix://$root/run/coracle/coracle.sock"
    set -- "$@" "$word"
done
CORACLE_LISTEN="unix://$root/run/coracle/coracle.sock" exec "$root/opt/coracle/current/bin/coracle" "$verb" "$@"
"""

KUBELET_UNIT: Final = """\
[Service]
Environment="KUBELET_KUBECONFIG_ARGS=--kubeconfig=/etc/kubernetes/kubelet.conf"
Environment="KUBELET_CONFIG_ARGS=--config=/var/lib/kubelet/config.yaml"
EnvironmentFile=-/var/lib/kubelet/kubeadm-flags.env
EnvironmentFile=-/etc/default/kubelet
ExecStart=/usr/bin/kubelet $KUBELET_KUBECONFIG_ARGS $KUBELET_CONFIG_ARGS $KUBELET_KUBEADM_ARGS $KUBELET_EXTRA_ARGS
"""


@dataclass(frozen=True, slots=True)
class HostTree:
    root: Path

    def make(self, endpoint: str) -> None:
        """As kubeadm leaves a node whose runtime is at `endpoint`. A mount of its own, shared as systemd makes "/"."""
        self.root.mkdir()
        for words in (["--bind", str(self.root)], ["--make-shared"]):
            subprocess.run(["mount", *words, str(self.root)], check=True)
        files = {
            "etc/default/kubelet": "KUBELET_EXTRA_ARGS=\n",
            "etc/crictl.yaml": f"runtime-endpoint: {endpoint}\n",
            "var/lib/kubelet/config.yaml": f"cgroupDriver: cgroupfs\ncontainerRuntimeEndpoint: {endpoint}\n",
            "var/lib/kubelet/kubeadm-flags.env": "KUBELET_KUBEADM_ARGS=\n",
            f"{COMMANDS}/systemctl": _SYSTEMCTL,
            f"{COMMANDS}/coracle": _CORACLE,
            # The pod is on the host's network: busybox' own.
            f"{COMMANDS}/ip": '#!/bin/sh\nexec ip "$@"\n',
        }
        for name in ("etc/kubernetes", "etc/systemd/system", "run/systemd/system", "opt", "var/lib", BUS):
            (self.root / name).mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            place = self.root / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text)
            place.chmod(0o755 if name.startswith(COMMANDS) else 0o644)
        machine = Path("/etc/machine-id")
        (self.root / "etc/machine-id").write_text(machine.read_text() if machine.exists() else "")

    def unmount(self) -> None:
        unmount_below(self.root)
        subprocess.run(["umount", "--lazy", str(self.root)], check=True)

    def give_kubeconfig(self, cluster: Cluster) -> None:
        """The kubelet's, with its certificates inside: the host's part of the installer reads only this tree."""
        document = json.loads(cluster.config("kubelet").read_text())
        for entry in (document["clusters"][0]["cluster"], document["users"][0]["user"]):
            for key in ("certificate-authority", "client-certificate", "client-key"):
                if key in entry:
                    entry[f"{key}-data"] = base64.b64encode(Path(entry.pop(key)).read_bytes()).decode()
        assert document["clusters"][0]["cluster"]["server"] == API
        (self.root / "etc/kubernetes/kubelet.conf").write_text(json.dumps(document))

    def read(self, path: str) -> str:
        place = self.root / path.lstrip("/")
        return place.read_text() if place.exists() else ""

    def snapshot(self) -> dict[str, tuple[int, bytes]]:
        """Every path with its mode and its bytes, but for what stands in for the host's programs."""
        found = {}
        for parent, directories, files in os.walk(self.root):
            if Path(parent) == self.root:
                directories[:] = [name for name in directories if name not in (COMMANDS, BUS)]
            for name in [*directories, *files]:
                path = Path(parent, name)
                status = path.lstat()
                content = path.read_bytes() if stat.S_ISREG(status.st_mode) else b""
                content = os.readlink(path).encode() if stat.S_ISLNK(status.st_mode) else content
                found[str(path.relative_to(self.root))] = (status.st_mode, content)
        return found
