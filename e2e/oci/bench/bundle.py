"""The container that everyone runs: two programs of a few instructions, the mounts and namespaces of a plain config."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from deploy.image import Platform
from e2e.images.pause import executable, pause_program

# exit(0)
_TRUE: Final = {
    "amd64": (62, bytes.fromhex("b83c00000031ff0f05")),
    "arm64": (183, bytes.fromhex("000080d2a80b80d2010000d4")),
}
_NAMESPACES: Final = ("pid", "network", "ipc", "uts", "mount")
_CAPABILITIES: Final = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]


def make(directory: Path, program: str, cgroup: str) -> Path:
    """A bundle whose process is /true or /pause."""
    rootfs = directory / "rootfs"
    for name in ("proc", "dev", "sys"):
        (rootfs / name).mkdir(parents=True)
    architecture = Platform.here().architecture
    for name, content in (("true", executable(*_TRUE[architecture])), ("pause", pause_program(architecture))):
        (rootfs / name).write_bytes(content)
        (rootfs / name).chmod(0o755)
    (directory / "config.json").write_text(json.dumps(_config(program, cgroup)))
    return directory


def _config(program: str, cgroup: str) -> dict[str, Any]:
    locked = ["nosuid", "noexec", "nodev"]
    return {
        "ociVersion": "1.0.2",
        "process": {
            "args": [program],
            "cwd": "/",
            "env": ["PATH=/"],
            "user": {"uid": 0, "gid": 0},
            "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), _CAPABILITIES),
            "noNewPrivileges": True,
        },
        "root": {"path": "rootfs", "readonly": True},
        "hostname": "bench",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=64k"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["nosuid", "newinstance"]},
            {"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": [*locked, "size=64k"]},
            {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": locked},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": [*locked, "ro"]},
        ],
        "linux": {
            "cgroupsPath": cgroup,
            "namespaces": [{"type": kind} for kind in _NAMESPACES],
            "maskedPaths": ["/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware", "/proc/scsi"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
        },
    }
