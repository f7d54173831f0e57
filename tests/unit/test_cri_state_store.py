from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cri import views
from cri.api import runtime_pb2 as api
from cri.errors import FailedPrecondition, InvalidArgument, NotFound
from cri.state import records, store
from cri.state.database import Checkpointer, migrate, open_database
from cri.state.machine import ContainerState, SandboxState
from cri.state.records import ContainerID, ContainerRecord, SandboxID, SandboxRecord
from cri.state.store import Table


def sandbox(record_id: str, state: SandboxState = SandboxState.READY, name: str = "pod") -> SandboxRecord:
    config = api.PodSandboxConfig(
        metadata=api.PodSandboxMetadata(name=name, namespace="default", uid="u"), labels={"app": name}
    )
    return SandboxRecord(
        id=SandboxID(record_id), state=state, config_bytes=config.SerializeToString(), created_at=1, ips=("10.0.0.1",)
    )


def open_table(path: Path) -> Table[SandboxRecord]:
    database = open_database(path)
    migrate(database, "cri", store.MIGRATIONS)
    return Table(
        database,
        name="sandboxes",
        kind="sandbox",
        to_row=records.to_row,
        from_row=records.sandbox_from_row,
        list_entry=views.sandbox_entry,
        group=records.sandbox_key,
    )


def test_records_are_the_same_after_the_file_is_opened_again(tmp_path: Path) -> None:
    table = open_table(tmp_path / "state.db")
    first = table.put(sandbox("a" * 64))
    table.put(sandbox("b" * 64))
    table.drop("b" * 64)
    again = open_table(tmp_path / "state.db")
    assert list(again) == [first]


def test_a_unique_beginning_of_an_id_is_enough(tmp_path: Path) -> None:
    table = open_table(tmp_path / "state.db")
    for record_id in ("abc1", "abd2", "b3"):
        table.put(sandbox(record_id))
    assert table.need("abc").id == "abc1"
    assert table.need("b").id == "b3"
    assert table.find("") is None
    assert table.find("zz") is None
    with pytest.raises(InvalidArgument, match="beginning of more than one"):
        table.find("ab")
    with pytest.raises(NotFound, match="zz"):
        table.need("zz")


def test_a_whole_id_wins_over_ids_that_begin_with_it(tmp_path: Path) -> None:
    table = open_table(tmp_path / "state.db")
    table.put(sandbox("abc"))
    table.put(sandbox("abcd"))
    assert table.need("abc").id == "abc"


@given(names=st.lists(st.text(min_size=1, max_size=300), max_size=6))
def test_the_joined_list_is_the_response_it_claims_to_be(
    tmp_path_factory: pytest.TempPathFactory, names: list[str]
) -> None:
    table = open_table(tmp_path_factory.mktemp("db") / "state.db")
    for number, name in enumerate(names):
        table.put(sandbox(f"{number:064x}", name=name))
    response = api.ListPodSandboxResponse.FromString(table.list_bytes())
    assert [item.metadata.name for item in response.items] == names


def test_what_is_still_being_made_is_in_no_list(tmp_path: Path) -> None:
    table = open_table(tmp_path / "state.db")
    record = table.put(sandbox("a", SandboxState.CREATING))
    assert table.list_bytes() == b""
    assert table.list_bytes([record]) == b""


def test_groups_follow_what_is_made_and_dropped(tmp_path: Path) -> None:
    table = open_table(tmp_path / "state.db")
    first, other, second = (table.put(sandbox(i, name=name)) for i, name in (("b", "x"), ("c", "y"), ("a", "x")))
    group = records.sandbox_key(first)
    assert table.grouped(group) == [first, second]
    changed = table.put(first.with_(delivered=True))
    assert table.grouped(group) == [changed, second]
    table.drop("b")
    table.drop("a")
    assert table.grouped(group) == []
    assert table.grouped(records.sandbox_key(other)) == [other]
    assert open_table(tmp_path / "state.db").grouped(records.sandbox_key(other)) == [other]


@pytest.mark.parametrize("delivered", [False, True])
def test_what_nobody_was_told_of_goes_unseen(tmp_path: Path, delivered: bool) -> None:
    table = open_table(tmp_path / "state.db")
    table.put(sandbox("a", SandboxState.REMOVING).with_(delivered=delivered))
    assert bool(table.list_bytes()) == delivered


def test_container_facts_survive(tmp_path: Path) -> None:
    record = ContainerRecord(
        id=ContainerID("c"),
        sandbox_id=SandboxID("s"),
        state=ContainerState.EXITED,
        config_bytes=b"",
        created_at=5,
        user=(7, 8, (9, 10)),
        resources_bytes=api.LinuxContainerResources(cpu_shares=3).SerializeToString(),
        oom_killed=True,
    )
    assert records.container_from_row(records.to_row(record)) == record


def test_facts_of_a_newer_coracle_are_passed_over() -> None:
    row = ("s", "s", "ready", b"", '{"created_at": 5, "hologram": true}')
    assert records.sandbox_from_row(row).created_at == 5


def test_a_database_from_a_newer_coracle_is_refused(tmp_path: Path) -> None:
    database = open_database(tmp_path / "state.db")
    migrate(database, "cri", ("CREATE TABLE a (x)", "CREATE TABLE b (x)"))
    migrate(database, "cri", ("CREATE TABLE a (x)", "CREATE TABLE b (x)"))
    with pytest.raises(FailedPrecondition, match="version 2"):
        migrate(database, "cri", ("CREATE TABLE a (x)",))


def test_the_checkpointer_moves_the_log_into_the_file(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    table = open_table(path)
    checkpointer = Checkpointer(path, interval_s=0.001)
    table.put(sandbox("a"))
    before = path.stat().st_size
    while path.stat().st_size == before:
        table.put(sandbox("b", name="x" * 20_000))
    checkpointer.close()
