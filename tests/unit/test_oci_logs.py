from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from oci.logs import LINE_LIMIT, Framer, timestamp

NOW = 1_700_000_000_123_456_789
LINE = re.compile(rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z) (stdout|stderr) ([PF]) ([^\n]*)\n")


def frame(chunks: list[bytes], stream: str = "stdout") -> bytes:
    framer = Framer(stream)
    return b"".join(framer.feed(chunk, NOW) for chunk in chunks) + framer.finish(NOW)


def parse(log: bytes) -> list[tuple[bytes, bytes]]:
    """(tag, content) of each line; the whole log must consist of well-formed lines."""
    lines = list(LINE.finditer(log))
    assert b"".join(match.group(0) for match in lines) == log
    return [(match.group(3), match.group(4)) for match in lines]


def reassemble(log: bytes) -> bytes:
    return b"".join(content + (b"\n" if tag == b"F" else b"") for tag, content in parse(log))


# Long runs make lines longer than the limit; the rest makes short and empty ones.
pieces = st.one_of(
    st.binary(max_size=40),
    st.sampled_from([b"\n", b"\n\n", b"", b"\r\n"]),
    st.integers(LINE_LIMIT - 2, LINE_LIMIT + 2).map(lambda size: b"x" * size),
    st.integers(1, 3 * LINE_LIMIT).map(lambda size: b"y" * size),
)
contents = st.lists(pieces, max_size=8).map(b"".join)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    places = sorted({place % (len(data) + 1) for place in places})
    return [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]


class TestFramer:
    @given(contents, st.lists(st.integers(0, 1 << 20), max_size=12))
    def test_reassembles_to_the_input_however_it_was_read(self, data: bytes, places: list[int]) -> None:
        assert reassemble(frame(cut(data, places))) == data

    @given(contents, st.lists(st.integers(0, 1 << 20), max_size=12))
    def test_the_result_does_not_depend_on_the_reads(self, data: bytes, places: list[int]) -> None:
        assert frame(cut(data, places)) == frame([data])

    @given(contents, st.lists(st.integers(0, 1 << 20), max_size=12))
    def test_cuts_only_lines_beyond_the_limit_and_only_there(self, data: bytes, places: list[int]) -> None:
        lines = parse(frame(cut(data, places)))
        for index, (tag, content) in enumerate(lines):
            assert len(content) <= LINE_LIMIT
            if tag == b"P" and index < len(lines) - 1:
                assert len(content) == LINE_LIMIT

    def test_line_of_exactly_the_limit_is_whole(self) -> None:
        assert parse(frame([b"x" * LINE_LIMIT, b"\n"])) == [(b"F", b"x" * LINE_LIMIT)]

    def test_one_byte_more_is_cut(self) -> None:
        log = frame([b"x" * LINE_LIMIT, b"y\n"])
        assert parse(log) == [(b"P", b"x" * LINE_LIMIT), (b"F", b"y")]

    def test_unfinished_line_waits_for_its_end(self) -> None:
        framer = Framer("stderr")
        assert framer.feed(b"login: ", NOW) == b""
        assert framer.pending == 7
        assert framer.feed(b"root\n", NOW).endswith(b" stderr F login: root\n")
        assert framer.pending == 0

    def test_last_line_without_newline_is_partial(self) -> None:
        assert frame([b"bye"]) == b"2023-11-14T22:13:20.123456789Z stdout P bye\n"

    def test_nothing_gives_nothing(self) -> None:
        assert frame([]) == b""
        assert frame([b""]) == b""

    def test_all_lines_of_a_read_share_its_time(self) -> None:
        log = Framer("stdout").feed(b"a\n\nb\n", NOW)
        stamp = b"2023-11-14T22:13:20.123456789Z stdout F "
        assert log == stamp + b"a\n" + stamp + b"\n" + stamp + b"b\n"


def test_timestamp_keeps_nine_digits() -> None:
    assert timestamp(1_000_000_001) == b"1970-01-01T00:00:01.000000001Z"
