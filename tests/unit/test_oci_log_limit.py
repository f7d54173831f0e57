"""What the limits let through: bounds, whole lines, markers that tell the truth."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from oci.log_limit import RESERVE, LogLimiter
from oci.logs import Framer

_NOW = 1_700_000_000_000_000_000
_SECOND = 1_000_000_000
_LINE = re.compile(rb"[0-9T:.Z-]{30} (stdout|stderr) ([PF]) ([^\n]*)\n")
_TOLD = re.compile(rb"coracle: log limit reached, (\d+) bytes dropped")


def batch(stream: str, *contents: str) -> bytes:
    return Framer(stream).feed("".join(f"{text}\n" for text in contents).encode(), _NOW)


def told(log: bytes) -> list[int]:
    return [int(count) for count in _TOLD.findall(log)]


steps = st.lists(
    st.tuples(
        st.sampled_from(["stdout", "stderr"]),
        st.lists(st.integers(0, 600), min_size=1, max_size=6),
        st.integers(0, _SECOND),
        st.sampled_from(["", "", "", "", "settle", "reopen"]),
    ),
    max_size=60,
)


@given(steps, st.sampled_from([0, 2048, 4096]), st.sampled_from([0, 1024, 3000]))
def test_limits_hold_and_every_byte_is_written_or_told(
    steps: list[tuple[str, list[int], int, str]], size_max: int, rate_limit: int
) -> None:
    limiter = LogLimiter(size_max=size_max, rate_limit=rate_limit)
    files = [b""]
    written: list[tuple[int, int]] = []
    given = kept = dropped = 0
    now = _NOW
    for stream, sizes, pause, then in steps:
        now += pause
        lines = batch(stream, *("x" * size for size in sizes))
        out, lost = limiter.admit(lines, now)
        given += len(lines)
        dropped += lost
        kept += sum(len(m.group(0)) for m in _LINE.finditer(out) if not m.group(3).startswith(b"coracle:"))
        written.append((now, len(out)))
        files[-1] += out
        if then == "settle":
            files[-1] += limiter.settle(now)
        elif then == "reopen":
            limiter.new_generation()
            files.append(b"")
    for file in files:
        assert b"".join(match.group(0) for match in _LINE.finditer(file)) == file
        assert not size_max or len(file) <= size_max
    assert given == kept + dropped
    assert sum(sum(told(file)) for file in files) + limiter.untold == dropped
    if not size_max and not rate_limit:
        assert dropped == 0
    if rate_limit and "reopen" not in {then for *_, then in steps}:
        for start, _ in written:
            # Two of our seconds may touch one of anybody's.
            assert sum(n for t, n in written if start <= t < start + _SECOND) <= 2 * (rate_limit + RESERVE)


def test_rate_drops_until_the_second_is_over_and_tells_once() -> None:
    limiter = LogLimiter(size_max=0, rate_limit=1000)
    first = batch("stdout", *["x" * 100] * 20)
    out, dropped = limiter.admit(first, _NOW)
    assert 0 < len(out) <= 1000
    assert len(out) + dropped == len(first)
    small = batch("stderr", "small")
    assert limiter.admit(small, _NOW + _SECOND - 1) == (b"", len(small))
    out, _ = limiter.admit(small, _NOW + _SECOND)
    assert told(out) == [dropped + len(small)]
    assert out.endswith(small)
    assert limiter.admit(small, _NOW + _SECOND + 1) == (small, 0)


def test_a_full_file_says_so_and_the_next_one_tells_how_much_was_lost() -> None:
    limiter = LogLimiter(size_max=2000, rate_limit=0)
    out, dropped = limiter.admit(batch("stdout", *["x" * 100] * 30), _NOW)
    assert out.splitlines()[-1].endswith(
        b" stdout F coracle: log limit reached, this file takes no more than 2000 bytes"
    )
    more = batch("stdout", "more")
    assert limiter.admit(more, _NOW + 5 * _SECOND) == (b"", len(more))
    assert limiter.settle(_NOW) == b""
    limiter.new_generation()
    out, _ = limiter.admit(more, _NOW + 6 * _SECOND)
    assert told(out) == [dropped + len(more)]
    assert out.endswith(more)


def test_what_a_file_holds_already_counts() -> None:
    limiter = LogLimiter(size_max=2000, rate_limit=0, written=1990 - RESERVE)
    line = batch("stdout", "a line")
    assert limiter.admit(line, _NOW)[1] == len(line)


def test_silence_after_a_flood_is_told_by_settle() -> None:
    limiter = LogLimiter(size_max=0, rate_limit=100)
    _, dropped = limiter.admit(batch("stderr", "x" * 100), _NOW)
    marker = limiter.settle(_NOW)
    assert told(marker) == [dropped]
    assert b" stderr F " in marker
    assert limiter.settle(_NOW) == b""


def test_a_line_cut_between_its_parts_is_ended_before_the_marker() -> None:
    limiter = LogLimiter(size_max=0, rate_limit=20_000)
    parts = Framer("stdout").feed(b"y" * 40_000 + b"\n", _NOW)
    out, _ = limiter.admit(parts, _NOW)
    out += limiter.settle(_NOW)
    tags = [(match.group(2), match.group(3)[:7]) for match in _LINE.finditer(out)]
    assert tags == [(b"P", b"yyyyyyy"), (b"F", b""), (b"F", b"coracle")]


def test_a_clock_that_goes_back_begins_a_new_second() -> None:
    limiter = LogLimiter(size_max=0, rate_limit=1000)
    limiter.admit(batch("stdout", *["x" * 100] * 20), _NOW)
    out, dropped = limiter.admit(batch("stdout", "again"), _NOW - 100 * _SECOND)
    assert told(out)
    assert dropped == 0
