"""rollback.sh: what the agent would do to put the kubelet back, as plain shell that needs no Python.

Written before the first file of the kubelet is changed. It knows only the files of this switch, and puts them back
whole: what somebody else changed in them since is lost, which the agent would have kept.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from typing import Final

from deploy.installer import names
from deploy.installer.effects import Effect
from deploy.installer.host import Host, Owner

COPIES: Final = f"{names.RECORD}/rollback"

_UNITS: Final = {
    "containerd.sock": "containerd.service",
    "crio.sock": "crio.service",
    "cri-dockerd.sock": "cri-docker.service",
}


def unit_of(endpoint: str) -> str | None:
    """The unit of the runtime that serves at `endpoint`, where it is one of the known."""
    return _UNITS.get(endpoint.rpartition("/")[2])


def write_script(host: Host, effects: Iterable[Effect], old_endpoint: str) -> None:
    if not host.exists(COPIES):
        host.make_directory(COPIES, 0o700)
    restoring = []
    for number, effect in enumerate(effects):
        if effect.kind not in ("file", "unit-file"):
            continue
        content, quoted = host.read(effect.path), shlex.quote(effect.path)
        if content is None:
            restoring.append(f"rm -f {quoted}")
        else:
            copy = f"{COPIES}/{number}"
            host.write(copy, content, Owner(mode=0o600))
            restoring.append(f"cat {shlex.quote(copy)} > {quoted}")
    host.write(names.ROLLBACK_SCRIPT, _text(restoring, unit_of(old_endpoint)).encode(), Owner(mode=0o700))


def _text(restoring: Iterable[str], old_unit: str | None) -> str:
    lines = [
        "#!/bin/sh",
        "# Puts this node's kubelet back to the runtime that it had before the switch to Coracle.",
        "# Coracle and its pods stay; remove them afterwards with: coracle-installer uninstall",
        "set -u",
        f"systemctl stop {names.ROLLBACK_TIMER} {names.SWITCH_UNIT}",
        f"systemctl stop {names.KUBELET_UNIT}",
        f"{names.CURRENT}/bin/coracle clear",
        *restoring,
        "systemctl daemon-reload",
        *([f"systemctl start {old_unit}"] if old_unit else []),
        f"systemctl start {names.KUBELET_UNIT}",
    ]
    return "\n".join(lines) + "\n"
