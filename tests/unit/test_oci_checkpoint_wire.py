"""Protocol Buffers' wire format, against known bytes and against itself."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oci.checkpoint import wire
from oci.checkpoint.errors import MalformedAnswer

_NUMBERS = st.integers(1, 2**29 - 1)


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ((1, 150), "089601"),
        ((1, 0), "0800"),
        ((1, True), "0801"),
        ((1, -1), "08ffffffffffffffffff01"),
        ((2, "testing"), "120774657374696e67"),
        ((16, b"\xff"), "820101ff"),
    ],
)
def test_known_bytes(field: tuple[int, wire.Value], expected: str) -> None:
    assert wire.encode([field]).hex() == expected


@given(st.lists(st.tuples(_NUMBERS, st.one_of(st.integers(-(2**63), 2**63 - 1), st.binary(max_size=300)))))
def test_what_is_written_is_read(fields: list[tuple[int, int | bytes]]) -> None:
    expected: wire.Fields = {}
    for key, value in fields:
        expected.setdefault(key, []).append(value & (1 << 64) - 1 if isinstance(value, int) else value)
    assert wire.decode(wire.encode(fields)) == expected


@given(st.binary(max_size=200))
def test_nothing_but_its_own_error_comes_of_bytes(data: bytes) -> None:
    try:
        fields = wire.decode(data)
        for key in fields:
            wire.text(fields, key)
            wire.number(fields, key)
    except MalformedAnswer:
        pass


@pytest.mark.parametrize("data", ["08", "0a05", "0b", "0affffffffffffffffffff01", "0d0000"])
def test_what_is_cut_off_or_unknown_is_refused(data: str) -> None:
    with pytest.raises(MalformedAnswer):
        wire.decode(bytes.fromhex(data))


def test_numbers_are_signed_and_the_last_one_counts() -> None:
    fields = wire.decode(wire.encode([(3, 1), (3, -5), (4, b"")]))
    assert (wire.number(fields, 3), wire.number(fields, 9, 7)) == (-5, 7)
    assert wire.message(fields, 4) == {}
    assert wire.message(fields, 5) is None
