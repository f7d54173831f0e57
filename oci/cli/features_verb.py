"""coracle-oci features: what this runtime was made to do, whatever the host can (features.md, features-linux.md)."""

from __future__ import annotations

import json

from oci import capabilities
from oci.checkpoint.criu import ANNOTATION
from oci.cli.options import Option, Parsed
from oci.plan.container import KEEP_GROUPS
from oci.plan.mount_options import known_options
from oci.plan.namespaces import CLONE_FLAGS
from oci.plan.process import SECCOMP_FLAGS
from oci.plan.scheduling import MEMORY_FLAGS, MEMORY_MODES
from oci.spec import VERSION
from oci.state import HOOK_OUTPUTS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from oci.cli.dispatch import Settings


_ACTIONS = tuple(
    f"SCMP_ACT_{name}"
    for name in ("ALLOW", "ERRNO", "KILL", "KILL_PROCESS", "KILL_THREAD", "LOG", "NOTIFY", "TRACE", "TRAP")
)

USAGE = "features"
OPTIONS: tuple[Option, ...] = ()


def run(settings: Settings, parsed: Parsed) -> int:
    print(json.dumps(document(), indent=2))  # noqa: T201
    return 0


def document() -> dict[str, object]:
    # Loaded only here: the other verbs mostly do without the compiler.
    from oci.seccomp.names import KNOWN
    from oci.seccomp.program import Op

    return {
        "potentiallyUnsafeConfigAnnotations": [KEEP_GROUPS, ANNOTATION, *HOOK_OUTPUTS],
        "ociVersionMin": "1.0.0",
        "ociVersionMax": VERSION,
        "hooks": ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"],
        "mountOptions": list(known_options()),
        "linux": {
            "namespaces": sorted(CLONE_FLAGS),
            "capabilities": list(capabilities.NAMES),
            "cgroup": {"v1": True, "v2": True, "systemd": True, "systemdUser": True, "rdma": True},
            "seccomp": {
                "enabled": True,
                "actions": list(_ACTIONS),
                "operators": [operator.value for operator in Op],
                "archs": sorted(KNOWN),
                "knownFlags": sorted(SECCOMP_FLAGS),
                "supportedFlags": sorted(SECCOMP_FLAGS),
            },
            "apparmor": {"enabled": True},
            "selinux": {"enabled": True},
            "intelRdt": {"enabled": True, "schemata": True, "monitoring": True},
            "memoryPolicy": {"modes": sorted(MEMORY_MODES), "flags": sorted(MEMORY_FLAGS)},
            "mountExtensions": {"idmap": {"enabled": True}},
            "netDevices": {"enabled": True},
        },
    }
