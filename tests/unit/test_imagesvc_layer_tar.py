"""The tar parser, without a file system: against tarfile, against the clock of its pieces, against garbage."""

from __future__ import annotations

import io
import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagesvc.layer.errors import CorruptEntry, CorruptLayer
from imagesvc.layer.pax import decimal, parse_pax, time
from imagesvc.layer.tar import Entry, Event, Kind, TarParser


def archive(*entries: tuple[tarfile.TarInfo, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as tar:
        for info, content in entries:
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def named(name: str, **values: object) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    for key, value in values.items():
        setattr(info, key, value)
    return info


def parse(tar: bytes, piece: int = 1 << 20, *, contents: bool = True) -> list[Event]:
    parser = TarParser(contents=contents)
    events: list[Event] = []
    for start in range(0, len(tar), piece):
        events += parser.feed(tar[start : start + piece])
    parser.close()
    return events


def joined(events: list[Event]) -> list[tuple[Entry, bytes]]:
    found: list[tuple[Entry, bytes]] = []
    for event in events:
        if isinstance(event, Entry):
            found.append((event, b""))
        else:
            found[-1] = found[-1][0], found[-1][1] + event
    return found


def block(name: bytes = b"x", flag: bytes = b"0", **fields: bytes) -> bytes:
    """A header by hand; fields overwrite by their offset: `f124=b"..."`."""
    header = bytearray(tarfile.TarInfo("x").tobuf(tarfile.USTAR_FORMAT))
    header[:100] = name.ljust(100, b"\0")
    header[156:157] = flag
    for key, value in fields.items():
        offset = int(key[1:])
        header[offset : offset + len(value)] = value
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.text(alphabet="ab/é", min_size=1, max_size=300), st.binary(max_size=2000)), max_size=6),
    st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]),
    st.integers(1, 3000),
)
def test_pieces_of_any_size_give_what_tarfile_reads(files: list[tuple[str, bytes]], form: int, piece: int) -> None:
    tar = archive(*((named(name), content) for name, content in files), form=form)
    found = joined(parse(tar, piece))
    with tarfile.open(fileobj=io.BytesIO(tar)) as opened:
        expected = opened.getmembers()
    assert [entry.name.decode().rstrip("/") for entry, _ in found] == [info.name.rstrip("/") for info in expected]
    for (entry, content), info in zip(found, expected, strict=True):
        if entry.kind is Kind.FILE:
            assert (entry.offset, entry.size) == (info.offset_data, info.size)
            assert tar[entry.offset : entry.offset + entry.size] == content
    without = [event for event in parse(tar, piece, contents=False) if isinstance(event, bytes)]
    assert without == []


@settings(max_examples=300)
@given(st.data())
def test_a_damaged_archive_is_parsed_or_refused(data: st.DataObject) -> None:
    tar = bytearray(archive((named("a/b"), b"x" * 700), (named("n" * 150, pax_headers={"k": "v"}), b"y")))
    for _ in range(data.draw(st.integers(1, 4))):
        tar[data.draw(st.integers(0, len(tar) - 1))] = data.draw(st.integers(0, 255))
    try:
        parse(bytes(tar), data.draw(st.sampled_from([100, 512, 1 << 20])))
    except CorruptLayer:
        pass


@settings(max_examples=300)
@given(
    name=st.binary(max_size=100),
    flag=st.binary(min_size=1, max_size=1),
    numbers=st.dictionaries(st.sampled_from(["f100", "f108", "f116", "f124", "f136", "f329"]), st.binary(max_size=8)),
)
def test_any_header_with_a_right_checksum_is_parsed_or_refused(
    name: bytes, flag: bytes, numbers: dict[str, bytes]
) -> None:
    try:
        parse(block(name, flag, **numbers) + bytes(1024))
    except CorruptLayer:
        pass


@given(st.binary(max_size=200))
def test_any_pax_header_is_parsed_or_refused(content: bytes) -> None:
    try:
        parse_pax(content)
    except CorruptLayer:
        pass


def test_numbers_in_base_256() -> None:
    big = 1 << 40
    (entry,) = (
        event
        for event in TarParser(contents=False).feed(
            block(f124=b"\x80" + big.to_bytes(11, "big"), f108=b"\x80" + (70000).to_bytes(7, "big"))
        )
        if isinstance(event, Entry)
    )
    assert (entry.size, entry.uid) == (big, 70000)
    (old,) = parse(block(f136=b"\xff" * 11 + b"\xf6") + bytes(1024))
    assert isinstance(old, Entry)
    assert old.mtime == -10


def test_old_archives_end_directory_names_with_a_slash() -> None:
    for flag, kind in ((b"0", Kind.FILE), (b"\0", Kind.DIRECTORY)):
        (entry,) = parse(block(b"d/", flag) + bytes(1024))
        assert isinstance(entry, Entry)
        assert entry.kind is kind


def test_prefixes_of_ustar_and_star() -> None:
    (ustar,) = parse(block(b"name", f345=b"a/b\0", f257=b"ustar\0") + bytes(1024))
    (star,) = parse(block(b"name", f345=b"p" * 131 + b"00000000000 ", f257=b"ustar\0", f508=b"tar\0") + bytes(1024))
    (gnu,) = parse(block(b"name", f345=b"times", f257=b"ustar  \0") + bytes(1024))
    assert [event.name for event in (ustar, star, gnu) if isinstance(event, Entry)] == [
        b"a/b/name",
        b"p" * 131 + b"/name",
        b"name",
    ]


def test_links_and_directories_have_no_content_whatever_their_size_says() -> None:
    tar = b"".join(block(b"x", flag, f124=b"00000001000\0", f157=b"t") for flag in (b"1", b"2", b"5", b"6"))
    assert len(parse(tar + bytes(1024))) == 4


def test_global_headers_are_skipped() -> None:
    records = b"19 path=/evil/path\n"
    tar = block(b"g", b"g", f124=b"%011o\0" % len(records)) + records.ljust(512, b"\0") + block(b"a") + bytes(1024)
    (entry,) = parse(tar)
    assert isinstance(entry, Entry)
    assert entry.name == b"a"


def test_what_follows_the_end_is_not_looked_at() -> None:
    assert parse(block(b"a") + bytes(512) + b"garbage" * 100) != []
    assert parse(b"") == []
    assert parse(block(b"a")) != []


@pytest.mark.parametrize(
    ("tar", "problem"),
    [
        (b"not a tar".ljust(512, b"!"), "checksum"),
        (block()[:100], "ends early"),
        (block(f124=b"00000000005\0"), "ends early, in a content"),
        (block(b"L", b"L", f124=b"00010000000\0"), "extended header has 2097152 bytes"),
        (block(b"L", b"L", f124=b"00000000005\0") + b"aaaaa".ljust(512, b"\0"), "ends early"),
        (block(f124=b"0000000000z\0"), "no octal number"),
        (block(f124=b"\xff" * 12), "negative"),
        (block(flag=b"S"), "sparse"),
        (block(flag=b"V"), "unknown type 'V'"),
        (block(flag=b"3", f329=b"0010000\0"), "device number"),
        (block(f108=b"\x80" + b"\xff" * 7), "out of range"),
    ],
)
def test_broken_archives_are_refused(tar: bytes, problem: str) -> None:
    with pytest.raises(CorruptLayer, match=problem):
        parse(tar)


def pax_entry(records: bytes) -> list[Event]:
    header = block(b"x", b"x", f124=b"%011o\0" % len(records)) + records.ljust(-(-len(records) // 512) * 512, b"\0")
    return parse(header + block(b"file") + bytes(1024))


def record(key: str, value: str) -> bytes:
    rest = f" {key}={value}\n".encode()
    length = len(rest) + 1
    while len(str(length)) + len(rest) != length:
        length += 1
    return str(length).encode() + rest


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("path", "a\0b", "NUL"),
        ("path", "a" * 5000, "more than 4095"),
        ("size", "-1", "size"),
        ("size", "1" * 30, "size"),
        ("uid", "x", "uid"),
        ("gid", "4294967295", "out of range"),
        ("mtime", "now", "time"),
        ("mtime", "1.x", "time"),
        ("mtime", "9223372036854775808", "out of range"),
        ("GNU.sparse.map", "0,1", "sparse"),
        ("SCHILY.xattr.", "x", "out of range"),
        ("SCHILY.xattr.user.x", "y" * 70000, "out of range"),
    ],
)
def test_pax_records_out_of_range_are_refused_with_the_entrys_name(key: str, value: str, problem: str) -> None:
    with pytest.raises(CorruptEntry, match=problem):
        pax_entry(record(key, value))


def test_pax_records() -> None:
    (entry,) = pax_entry(
        record("path", "dir/é") + record("uid", "70000") + record("mtime", "12.5") + record("SCHILY.xattr.user.a", "b")
    )
    assert isinstance(entry, Entry)
    assert (entry.name, entry.uid, entry.mtime, entry.mtime_ns) == ("dir/é".encode(), 70000, 12, 500_000_000)
    assert entry.xattrs == ((b"user.a", b"b"),)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"0", (0, 0)),
        (b"1.000000001", (1, 1)),
        (b"1.9999999999", (1, 999_999_999)),
        (b"-1", (-1, 0)),
        (b"-1.25", (-2, 750_000_000)),
        (b".5", (0, 500_000_000)),
        (b"-0.5", (-1, 500_000_000)),
    ],
)
def test_times(text: bytes, expected: tuple[int, int]) -> None:
    assert time(text) == expected


@pytest.mark.parametrize("text", [b"", b"-", b".", b"+1", b"1_0", b"1e5", b"\xb9"])
def test_what_is_no_time_or_number(text: bytes) -> None:
    with pytest.raises(CorruptLayer):
        time(text)
    with pytest.raises(CorruptLayer):
        decimal(text, "size")
