"""The option loop of coracle-oci."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oci.cli.exec_verb import _id
from oci.cli.kill_verb import parse_signal
from oci.cli.options import UsageError, parse, switch, value

OPTIONS = (value("bundle b", "DIR", ""), switch("detach d", ""), value("env e", "X", ""))


@pytest.mark.parametrize(
    "arguments",
    [
        ["--bundle", "/x", "-d", "id"],
        ["id", "--bundle=/x", "--detach"],
        ["-b", "/x", "id", "--detach=true"],
        ["-b/x", "-d", "--", "id"],
    ],
)
def test_options_before_and_after_the_words(arguments: list[str]) -> None:
    parsed = parse(arguments, OPTIONS)
    assert parsed.text("bundle") == "/x"
    assert parsed.switch("detach")
    assert parsed.words == ["id"]


def test_a_commands_own_options_are_its_own() -> None:
    parsed = parse(["-e", "A=1", "id", "-e", "B=2", "ls", "-d", "--bundle", "x"], OPTIONS, words=2)
    assert parsed.texts("env") == ["A=1", "B=2"]
    assert parsed.words == ["id", "ls", "-d", "--bundle", "x"]
    assert not parsed.switch("detach")


@pytest.mark.parametrize("arguments", [["--nope"], ["-x"], ["--bundle"], ["--detach=maybe"]])
def test_wrong_command_lines(arguments: list[str]) -> None:
    with pytest.raises(UsageError):
        parse(arguments, OPTIONS)


@given(st.lists(st.text(max_size=6)))
def test_any_arguments_parse_or_are_a_usage_error(arguments: list[str]) -> None:
    try:
        parse(arguments, OPTIONS)
    except UsageError:
        pass


@pytest.mark.parametrize(("text", "number"), [("9", 9), ("KILL", 9), ("SIGTERM", 15), ("sigrtmin+1", 35)])
def test_signals(text: str, number: int) -> None:
    assert parse_signal(text) == number


@pytest.mark.parametrize("text", ["", "0", "65", "NOPE", "-9", "9x", "KILL+x", "²"])
def test_wrong_signals(text: str) -> None:
    with pytest.raises(UsageError):
        parse_signal(text)


@pytest.mark.parametrize("text", ["", "-1", "4294967295", "1000x", "root", " 1", "٣"])
def test_ids_are_digits_and_nothing_else(text: str) -> None:
    with pytest.raises(UsageError):
        _id(text)
