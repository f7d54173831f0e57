from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oci.protocol import forking
from oci.protocol.failures import ProtocolError
from oci.protocol.forking import ForkShim

paths = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=200)


@given(paths, st.none() | st.integers(-1000, 1000))
def test_request_round_trip(directory: str, score: int | None) -> None:
    request = ForkShim(sandbox_id="a" * 64, directory=directory, oom_score_adj=score)
    assert forking.unpack_request(forking.pack_request(request)) == request


@pytest.mark.parametrize("directory", ["/a\0b", "/" + "x" * forking.LIMIT])
def test_request_that_cannot_be_told(directory: str) -> None:
    with pytest.raises(ProtocolError):
        forking.pack_request(ForkShim(sandbox_id="a", directory=directory))


def test_answers() -> None:
    assert forking.unpack_answer(forking.pack_answer(4711)) == 4711
    assert forking.unpack_answer(forking.pack_answer(-11)) == -11
    with pytest.raises(ProtocolError):
        forking.unpack_answer(b"hello")


@pytest.mark.parametrize("problems", [[], ["one"], ["one", "two: \u20ac"]])
def test_ready(problems: list[str]) -> None:
    assert forking.unpack_ready(forking.pack_ready(problems)) == problems


def test_not_ready() -> None:
    with pytest.raises(ProtocolError):
        forking.unpack_ready(b"Traceback")
