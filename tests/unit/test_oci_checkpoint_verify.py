"""What a restored container is held to: each property that an archive could have more of than its config gives."""

from __future__ import annotations

import pytest

from oci.checkpoint.errors import Distrusted
from oci.checkpoint.mount_table import MountEntry
from oci.checkpoint.verify import ProcessFacts, check_mounts, check_processes
from oci.spec import Capabilities, Linux, Mount, Namespace, Process, Spec, User
from oci.values import replace

PROCESS = Process(
    cwd="/",
    args=("x",),
    user=User(uid=1000, gid=1000),
    no_new_privileges=True,
    capabilities=Capabilities(bounding=("CAP_KILL",), effective=("CAP_KILL",)),
    apparmor_profile="mine",
)
SPEC = Spec(
    oci_version="1.3.0",
    process=PROCESS,
    mounts=(
        Mount(destination="/proc", type="proc", source="proc"),
        Mount(destination="/dev", type="tmpfs", source="tmpfs"),
        Mount(destination="/data", type="bind", source="/src", options=("rbind", "ro")),
    ),
    linux=Linux(
        namespaces=(Namespace(type="mount"), Namespace(type="pid"), Namespace(type="network", path="/n")),
        masked_paths=("/proc/keys",),
    ),
)
HOST = {"mnt": 1, "pid": 2, "net": 3, "ipc": 4}
STATUS = {
    "Uid": "1000\t1000\t1000\t1000",
    "CapInh": "0",
    "CapPrm": "20",
    "CapEff": "20",
    "CapBnd": "20",
    "CapAmb": "0",
    "NoNewPrivs": "1",
    "Seccomp": "2",
}
GOOD = ProcessFacts(pid=7, status=STATUS, namespaces={"mnt": 11, "pid": 12, "net": 3, "ipc": 4}, label="mine (enforce)")


def check(facts: ProcessFacts) -> None:
    check_processes(SPEC, [facts], HOST, filtered=True)


def test_one_that_is_as_it_should_be() -> None:
    check(GOOD)


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ({"CapEff": "21"}, "CapEff: 0x1"),
        ({"CapBnd": "1ffffffffff"}, "capabilities beyond"),
        ({"CapAmb": "200000"}, "CapAmb"),
        ({"Uid": "1000\t0\t0\t0"}, "has uid 0"),
        ({"NoNewPrivs": "0"}, "may gain privileges"),
        ({"Seccomp": "0"}, "no seccomp filter"),
    ],
)
def test_a_process_with_more_than_its_config_gives(status: dict[str, str], words: str) -> None:
    with pytest.raises(Distrusted, match=words):
        check(replace(GOOD, status={**STATUS, **status}))


def test_uids_are_free_to_one_that_may_set_them() -> None:
    free = replace(PROCESS, capabilities=Capabilities(bounding=("CAP_KILL", "CAP_SETUID")))
    changed = replace(GOOD, status={**STATUS, "Uid": "0\t0\t0\t0"})
    check_processes(replace(SPEC, process=free), [changed], HOST, filtered=True)


def test_another_label_and_a_namespace_of_the_host() -> None:
    with pytest.raises(Distrusted, match="confined as 'unconfined'"):
        check(replace(GOOD, label="unconfined"))
    with pytest.raises(Distrusted, match="in the pid namespace of the host"):
        check(replace(GOOD, namespaces={**GOOD.namespaces, "pid": 2}))


def mount(place: str, fstype: str = "tmpfs", *options: str) -> MountEntry:
    return MountEntry(id=1, parent=0, root="/", mount_point=place, fstype=fstype, options=frozenset(options or ("rw",)))


PLACES = {each.destination: each for each in SPEC.mounts}
MOUNTS = (
    mount("/", "overlay"),
    mount("/proc", "proc"),
    mount("/proc/keys", "devtmpfs"),
    mount("/dev"),
    mount("/dev/null", "devtmpfs"),
    mount("/data", "ext4", "ro", "nosuid"),
    mount("/data/below", "ext4", "rw"),
)


def test_mounts_as_they_should_be() -> None:
    check_mounts(SPEC, MOUNTS, PLACES, ["/proc/keys"])


def test_one_mount_more() -> None:
    with pytest.raises(Distrusted, match="devtmpfs is mounted at /mnt"):
        check_mounts(SPEC, (*MOUNTS, mount("/mnt", "devtmpfs")), PLACES, ["/proc/keys"])


def test_one_mount_less_where_something_is_to_be_hidden() -> None:
    with pytest.raises(Distrusted, match="/proc/keys is neither masked nor read-only"):
        check_mounts(SPEC, [entry for entry in MOUNTS if entry.mount_point != "/proc/keys"], PLACES, ["/proc/keys"])


def test_one_that_is_writable_though_it_may_not_be() -> None:
    writable = [mount("/data", "ext4", "rw") if entry.mount_point == "/data" else entry for entry in MOUNTS]
    with pytest.raises(Distrusted, match="/data is writable"):
        check_mounts(SPEC, writable, PLACES, ["/proc/keys"])


def test_a_container_that_may_mount_is_not_held_to_its_mounts() -> None:
    admin = replace(PROCESS, capabilities=Capabilities(bounding=("CAP_SYS_ADMIN",)))
    check_mounts(replace(SPEC, process=admin), (mount("/mnt", "devtmpfs"),), PLACES, ["/proc/keys"])
