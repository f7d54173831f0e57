"""Single settings in shared files: set, and taken back to the byte."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.installer.edits import flag_of, key_of, set_flags, set_key, take_back, variable_of, with_flag
from deploy.installer.errors import Refused

ENDPOINT = {"--container-runtime-endpoint": "unix:///run/coracle/coracle.sock"}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('KUBELET_EXTRA_ARGS="--a=b --c"\n', "--a=b --c"),
        ("KUBELET_EXTRA_ARGS='--a=b'", "--a=b"),
        ("KUBELET_EXTRA_ARGS=--a=b --c\n", "--a=b --c"),
        ("KUBELET_EXTRA_ARGS=\n", ""),
        ("# KUBELET_EXTRA_ARGS=--no\nOTHER=1\n", ""),
        ("KUBELET_EXTRA_ARGS=--first\nKUBELET_EXTRA_ARGS=--last\n", "--last"),
    ],
)
def test_a_variable_is_read_as_systemd_reads_it(text: str, value: str) -> None:
    assert variable_of(text, "KUBELET_EXTRA_ARGS") == value


@pytest.mark.parametrize(
    ("arguments", "value"),
    [
        ("--x=1 --flag=2", "2"),
        ("--flag 2 --x", "2"),
        ("--flag=1 --flag=2", "2"),
        ("--flagged=1", None),
        ("--flag", None),
    ],
)
def test_the_last_of_equal_flags_counts(arguments: str, value: str | None) -> None:
    assert flag_of(arguments, "--flag") == value


def test_a_flag_takes_the_place_of_its_former_self() -> None:
    assert with_flag("--a --flag=1 --b", "--flag", "2") == "--a --flag=2 --b"
    assert with_flag("--a --flag 1 --b", "--flag", None) == "--a --b"
    assert with_flag("--a  'b  c'", "--flag", None) == "--a  'b  c'"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", 'ARGS="--f=v"\n'),
        ("# comment\nOTHER=1", '# comment\nOTHER=1\nARGS="--f=v"\n'),
        ('ARGS="--x"\n', 'ARGS="--x --f=v"\n'),
        ("ARGS=--f=old --x\n# end\n", "ARGS=--f=v --x\n# end\n"),
        ("ARGS=\n", "ARGS=--f=v\n"),
    ],
)
def test_flags_are_set_and_nothing_else_changes(text: str, expected: str) -> None:
    assert set_flags(text, "ARGS", {"--f": "v"})[0] == expected


def test_an_assignment_over_two_lines_is_refused() -> None:
    with pytest.raises(Refused, match="goes on in a second line"):
        set_flags("ARGS=--x \\\n--y\n", "ARGS", {"--f": "v"})


def test_a_key_is_set_where_it_says_something() -> None:
    assert set_key("a: 1\nkey: old\n", "key", "new")[0] == "a: 1\nkey: new\n"
    assert set_key('key: ""\n', "key", "new") == ('key: ""\n', ())
    assert set_key("  key: nested\n", "key", "new") == ("  key: nested\n", ())
    assert key_of('key:   "x"  \n', "key") == '"x"'


def test_an_edit_is_taken_back_among_what_others_changed_since() -> None:
    text, edits = set_flags('ARGS="--f=old --x"\n', "ARGS", {"--f": "v", "--g": "w"})
    changed = text.replace("--x", "--x --theirs") + "MORE=1\n"
    assert take_back(changed, edits) == 'ARGS="--f=old --x --theirs"\nMORE=1\n'


def test_what_others_set_over_ours_stays() -> None:
    text, edits = set_flags('ARGS="--f=old"\n', "ARGS", {"--f": "v"})
    assert take_back(text.replace("=v", "=theirs"), edits) == 'ARGS="--f=theirs"\n'


WORD = st.from_regex(r"--[a-z]{1,5}(=[a-z0-9:/.]{0,8})?", fullmatch=True)
LINE = st.one_of(
    st.just("# comment"),
    st.from_regex(r"[B-Z]{2,4}=[a-z ]{0,8}", fullmatch=True),
    st.lists(WORD, min_size=1, max_size=4).map(lambda words: f'ARGS="{" ".join(words)}"'),
)


@given(st.lists(LINE, max_size=5))
def test_an_environment_file_comes_back_to_the_byte(lines: list[str]) -> None:
    text = "".join(f"{line}\n" for line in lines)
    changed, edits = set_flags(text, "ARGS", ENDPOINT)
    assert flag_of(variable_of(changed, "ARGS"), *ENDPOINT) == next(iter(ENDPOINT.values()))
    back = take_back(changed, edits)
    if any(line.startswith("ARGS=") for line in lines):
        assert back == text
    else:
        assert back == text + 'ARGS=""\n'


@given(st.text(max_size=200), st.text(max_size=20))
def test_no_text_makes_the_readers_fail(text: str, key: str) -> None:
    variable_of(text, "ARGS")
    flag_of(text, "--f")
    key_of(text, key)
