"""Fuzzing config.json with atheris: whatever it says, planning ends with a plan or with one of our errors.

    pip install atheris; python -m tests.fuzz.fuzz_config -max_total_time=300

Half of the inputs are bytes for the parser. The other half are edits of a complete config, which get past it: the
fuzzer's bytes choose places in the document and what to put there.
"""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Callable
from typing import Any, Final

from oci.cli.containers import parse_config
from oci.cli.spec_verb import template
from oci.errors import OciError
from oci.plan.container import plan_container
from oci.plan.exec import plan_exec
from oci.plan.host import CgroupHierarchy, Host, Supplied
from oci.resctrl import check as check_resctrl
from oci.spec import IdMapping, Spec, to_json
from oci.values import replace

_HOST: Final = Host(
    cgroups=(CgroupHierarchy(name="memory", controllers="memory", directory="/sys/fs/cgroup/memory/x"),),
    lsm=frozenset(("selinux",)),
    uid_map=(IdMapping(container_id=0, host_id=0, size=1000),),
    gid_map=(IdMapping(container_id=0, host_id=0, size=1000),),
)
_HOOK: Final = {"path": "/bin/true", "args": ["true"], "env": ["A=b"], "timeout": 5}
_MORE: Final[dict[str, Any]] = {
    "domainname": "d",
    "annotations": {"a": "b"},
    "hooks": {
        kind: [_HOOK]
        for kind in ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
    },
}
_LINUX: Final[dict[str, Any]] = {
    "uidMappings": [{"containerID": 0, "hostID": 1000, "size": 10}],
    "gidMappings": [{"containerID": 0, "hostID": 1000, "size": 10}],
    "timeOffsets": {"monotonic": {"secs": 1, "nanosecs": 2}},
    "devices": [{"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 438, "uid": 0, "gid": 0}],
    "netDevices": {"eth0": {"name": "eth1"}},
    "intelRdt": {"closID": "x", "schemata": ["L3:0=f"]},
    "memoryPolicy": {"mode": "MPOL_BIND", "nodes": "0-1", "flags": ["MPOL_F_STATIC_NODES"]},
    "sysctl": {"net.ipv4.ip_forward": "1", "kernel.msgmax": "1"},
    "personality": {"domain": "LINUX", "flags": []},
    "rootfsPropagation": "rslave",
    "mountLabel": "x",
    "cgroupsPath": "/a/b",
    "seccomp": {
        "defaultAction": "SCMP_ACT_ERRNO",
        "architectures": ["SCMP_ARCH_X86_64"],
        "flags": ["SECCOMP_FILTER_FLAG_LOG"],
        "syscalls": [
            {
                "names": ["read", "clone"],
                "action": "SCMP_ACT_ALLOW",
                "args": [{"index": 0, "value": 1, "valueTwo": 2, "op": "SCMP_CMP_MASKED_EQ"}],
            }
        ],
    },
}
_PROCESS: Final[dict[str, Any]] = {
    "consoleSize": {"height": 1, "width": 1},
    "scheduler": {"policy": "SCHED_DEADLINE", "runtime": 1024, "deadline": 2048, "period": 4096},
    "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 4},
    "execCPUAffinity": {"initial": "0", "final": "0-3"},
    "oomScoreAdj": 10,
    "user": {"uid": 1, "gid": 1, "umask": 18, "additionalGids": [5]},
}
_ODD: Final[tuple[Any, ...]] = (
    None, True, 0, -1, 1 << 31, 1 << 63, 1 << 64, -(1 << 63), 0.5, 1e308, "", "/", "..", "a\0b", "\ud800", "\n", "é",
    "/proc/self", "rbind", "idmap", "tmpcopyup", [], {}, [[]], {"": ""}, "user", "SCMP_ACT_NOTIFY",
)  # fmt: skip


def whole_config() -> dict[str, Any]:
    document: dict[str, Any] = template(rootless=False)
    document.update(copy.deepcopy(_MORE))
    document["linux"].update(copy.deepcopy(_LINUX))
    document["linux"]["namespaces"] += [{"type": "user"}, {"type": "time"}]
    document["process"].update(copy.deepcopy(_PROCESS))
    document["mounts"] += [
        {"destination": "/a", "type": "bind", "source": "/b", "options": ["rbind", "ro", "rro", "rshared", "idmap"]},
        {"destination": "/t", "type": "tmpfs", "options": ["tmpcopyup", "ro", "mode=700"]},
    ]
    return document


def check(content: bytes) -> bool:
    """Anything but a plan or an `OciError` comes out as what it is; True for a plan."""
    try:
        spec = parse_config(content, "config.json")
        assert Spec.from_json(to_json(spec)) == spec
        if spec.linux.intel_rdt is not None:
            check_resctrl(spec.linux.intel_rdt)
        for privileged in (True, False):
            host = replace(_HOST, privileged=privileged)
            plan_container("fuzz", spec, host, Supplied(bundle="/b", enters=True, resctrl=True)).describe()
        if spec.process is not None:
            plan_exec(spec.process, spec, _HOST, Supplied(), user_namespace=True)
        return True
    except OciError:
        return False


def edited(choose: Callable[[int], int], text: Callable[[], str], edits: int) -> bytes:
    """A config with some places changed; `choose(n)` is a number below n."""
    document = whole_config()
    for _ in range(edits):
        places = list(_places(document))
        container, key = places[choose(len(places))]
        action = choose(4)
        if action == 0:
            del container[key]
        elif action == 1:
            container[key] = copy.deepcopy(_ODD[choose(len(_ODD))])
        elif action == 2:
            container[key] = text()
        else:
            other, its = places[choose(len(places))]
            container[key] = copy.deepcopy(other[its])
    return json.dumps(document).encode()


def _places(value: Any) -> Any:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, entry in list(items):
        yield value, key
        yield from _places(entry)


def one_input(data: bytes) -> None:
    import atheris

    provider = atheris.FuzzedDataProvider(data)
    if provider.ConsumeBool():
        check(provider.ConsumeBytes(len(data)))
        return
    edits = provider.ConsumeIntInRange(1, 6)
    check(
        edited(
            lambda below: provider.ConsumeIntInRange(0, below - 1),
            lambda: provider.ConsumeUnicode(provider.ConsumeIntInRange(0, 20)),
            edits,
        )
    )


def main() -> None:
    import atheris

    atheris.instrument_all()
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
