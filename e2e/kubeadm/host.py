"""The host's directories that kubeadm and the kubelet write to, as overlays in this mount namespace.

What is written goes to a temporary directory; the machine's own files stay as they are, whatever happens.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Final

from e2e.kube import namespace
from e2e.kube.namespace import NODE_ADDRESS
from e2e.kube.settings import NODE

_CHANGED: Final = ("/etc", "/var/lib", "/var/log", "/usr/lib", "/usr/libexec")


def cover(directory: Path) -> None:
    """Once, in a mount namespace of one's own. The node then knows its name."""
    assert namespace.inside()
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    for path in _CHANGED:
        layers = directory / path.strip("/").replace("/", "-")
        for name in ("upper", "work"):
            (layers / name).mkdir(parents=True)
        options = f"lowerdir={path},upperdir={layers}/upper,workdir={layers}/work"
        subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, path], check=True)
    # kube-proxy's pod mounts it; a machine whose kernel has no modules need not have it.
    Path("/lib/modules").mkdir(exist_ok=True)
    with Path("/etc/hosts").open("a") as hosts:
        hosts.write(f"{NODE_ADDRESS} {NODE}\n")


def uncover() -> None:
    for path in _CHANGED:
        subprocess.run(["umount", "--lazy", path], check=True)
