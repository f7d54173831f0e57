"""CRIU's requests and answers."""

from __future__ import annotations

from oci.checkpoint import rpc, wire
from oci.checkpoint.rpc import Options, Request


def options(**given: object) -> wire.Fields:
    return wire.decode(Options(**given).encode())  # type: ignore[arg-type]


def test_what_is_not_asked_for_is_left_to_criu() -> None:
    assert options(images_fd=5) == {1: [5], 9: [4]}


def test_numbers_of_the_fields() -> None:
    fields = options(
        images_fd=5,
        work_fd=6,
        pid=77,
        leave_running=True,
        tcp_established=True,
        root="/r",
        cgroup_mode=rpc.CGROUP_MODES["ignore"],
        timeout=9,
        orphan_pts_master=True,
        sibling=True,
        freeze_cgroup="/f",
        lsm_profile="apparmor:x",
    )
    assert fields[17] == [6]
    assert fields[2] == [77]
    assert (fields[3], fields[5], fields[26], fields[50]) == ([1], [1], [1], [1])
    assert (fields[13], fields[44], fields[53]) == ([b"/r"], [b"/f"], [b"apparmor:x"])
    assert (fields[34], fields[45]) == ([0], [9])


def test_lists_and_nested_messages() -> None:
    fields = options(
        external=("mnt[/a]:/a", "mnt[/b]:/b"), inherited=(("pipe:[1]", 8),), page_server=("192.0.2.1", 1234)
    )
    assert fields[37] == [b"mnt[/a]:/a", b"mnt[/b]:/b"]
    assert wire.decode(bytes(fields[27][0])) == {1: [b"pipe:[1]"], 2: [8]}
    assert wire.decode(bytes(fields[11][0])) == {1: [b"192.0.2.1"], 2: [1234]}


def test_a_request_holds_its_kind_and_options() -> None:
    fields = wire.decode(rpc.request(Request.RESTORE, Options(images_fd=3)))
    assert fields[1] == [2]
    assert wire.decode(bytes(fields[2][0]))[1] == [3]
    assert wire.decode(rpc.request(Request.VERSION, None)) == {1: [10]}
    assert wire.decode(rpc.notified(success=False)) == {1: [6], 3: [0]}


def test_answers() -> None:
    restored = rpc.answer(wire.encode([(1, 2), (2, True), (4, wire.encode([(1, 4321)]))]))
    assert (restored.kind, restored.success, restored.pid) == (2, True, 4321)
    told = rpc.answer(wire.encode([(1, 6), (2, True), (5, wire.encode([(1, "setup-namespaces"), (2, 99)]))]))
    assert (told.script, told.pid) == ("setup-namespaces", 99)
    failed = rpc.answer(wire.encode([(1, 1), (2, False), (7, 13), (9, "no")]))
    assert (failed.success, failed.errno, failed.problem) == (False, 13, "no")
    assert rpc.answer(wire.encode([(1, 10), (2, True), (10, wire.encode([(1, 4), (2, 2)]))])).version == (4, 2, 0)
