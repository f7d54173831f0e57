"""inflate and pipeline: compressed streams in any pieces, both digests, and no thread left behind."""

from __future__ import annotations

import gzip
import hashlib
import io
import sys
import tarfile
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagesvc.digest import Digest
from imagesvc.layer.errors import CorruptLayer
from imagesvc.layer.inflate import Inflater
from imagesvc.layer.pipeline import write_layer
from imagesvc.layer.tar import Entry
from imagesvc.layer.writer import LayerFacts, Seal

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

SKIPPABLE = b"\x50\x2a\x4d\x18\x04\x00\x00\x00abcd"


def inflate(data: bytes, piece: int = 1 << 20) -> bytes:
    inflater = Inflater()
    found = [out for start in range(0, len(data), piece) for out in inflater.feed(data[start : start + piece])]
    inflater.close()
    assert all(len(out) <= 1 << 20 for out in found)
    return b"".join(found)


def pack(parts: list[bytes], how: str) -> bytes:
    if how == "gzip":
        return b"".join(gzip.compress(part) for part in parts)
    if how == "zstd":
        return b"".join(zstd.compress(part) for part in parts)
    return b"".join(parts)


@settings(max_examples=80)
@given(
    st.lists(st.binary(max_size=3000), min_size=1, max_size=8),
    st.sampled_from(["gzip", "zstd"]),
    st.integers(1, 5000),
)
def test_streams_of_several_members_in_any_pieces(parts: list[bytes], how: str, piece: int) -> None:
    assert inflate(pack(parts, how), piece) == b"".join(parts)


def test_plain_streams_pass() -> None:
    assert inflate(b"plain tar content", 3) == b"plain tar content"
    assert inflate(b"") == b""


@pytest.mark.parametrize("how", ["gzip", "zstd"])
@pytest.mark.parametrize("piece", [1 << 10, 1 << 24])
def test_output_comes_in_bounded_pieces(how: str, piece: int) -> None:
    content = bytes(50 << 20)
    assert inflate(pack([content], how), piece) == content


def test_padding_and_skippable_frames() -> None:
    assert inflate(gzip.compress(b"x") + bytes(1000), 7) == b"x"
    assert inflate(SKIPPABLE + zstd.compress(b"x") + SKIPPABLE + zstd.compress(b"y"), 5) == b"xy"


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (gzip.compress(b"x" * 1000)[:-1], "cut short"),
        (gzip.compress(b"x" * 1000)[:20], "cut short"),
        (gzip.compress(b"x") + b"garbage", "corrupt|cut short"),
        (b"\x1f\x8b\x08\x00" + b"\xff" * 100, "corrupt"),
        (gzip.compress(b"x" * 1000)[:-8] + bytes(8), "corrupt"),
        (zstd.compress(b"x" * 1000)[:-3], "cut short"),
        (zstd.compress(b"x") + b"garbage", "corrupt"),
        (b"\x28\xb5\x2f\xfd" + b"\xff" * 100, "corrupt"),
        (b"ab", "no tar, gzip or zstd"),
    ],
)
def test_broken_streams_are_refused(data: bytes, problem: str) -> None:
    for piece in (1, 1 << 20):
        with pytest.raises(CorruptLayer, match=problem):
            inflate(data, piece)


@given(st.binary(max_size=300), st.sampled_from([b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd", b""]), st.integers(1, 50))
def test_any_stream_is_inflated_or_refused(data: bytes, head: bytes, piece: int) -> None:
    try:
        inflate(head + data, piece)
    except CorruptLayer:
        pass


# --- the whole way --------------------------------------------------------------------------------------------------


class Collected:
    """A writer that keeps what it is fed, and fails when told to."""

    def __init__(self, fail_at: int = -1) -> None:
        self.data = b""
        self.finished = False
        self.fail_at = fail_at

    def feed(self, data: bytes) -> None:
        self.data += data
        if 0 <= self.fail_at < len(self.data):
            raise CorruptLayer("told to fail")

    def add(self, entry: Entry) -> None:
        raise AssertionError(entry)

    def finish(self) -> LayerFacts:
        self.finished = True
        return LayerFacts(
            size=len(self.data), inodes=1, implied=(), opaque_root=False, seal=Seal(content_end=0, digest="")
        )

    def close(self) -> None: ...


def tar_of(size: int) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        info = tarfile.TarInfo("f")
        info.size = size
        tar.addfile(info, io.BytesIO(bytes(size)))
    return buffer.getvalue()


def sha(content: bytes) -> Digest:
    return Digest(f"sha256:{hashlib.sha256(content).hexdigest()}")


TAR = tar_of(3 << 20)
BLOB = gzip.compress(TAR)


def pieces(content: bytes, size: int = 1000) -> Iterator[bytes]:
    for start in range(0, len(content), size):
        yield content[start : start + size]


def run(writer: Collected, source: Iterator[bytes], digest: Digest, diff_id: Digest) -> tuple[LayerFacts, int]:
    counts: list[int] = []
    facts = write_layer(source, digest=digest, diff_id=diff_id, writer=writer, on_bytes=counts.append)
    return facts, sum(counts)


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    before = threading.active_count()
    yield
    assert threading.active_count() <= before  # an earlier test's may end meanwhile


def test_a_layer_is_written_and_both_digests_are_right() -> None:
    writer = Collected()
    facts, fetched = run(writer, pieces(BLOB), sha(BLOB), sha(TAR))
    assert writer.data == TAR
    assert writer.finished
    assert (facts.size, fetched) == (len(TAR), len(BLOB))


@pytest.mark.parametrize(
    ("digest", "diff_id", "problem"),
    [(sha(b""), sha(TAR), "its content has digest"), (sha(BLOB), sha(b""), "its uncompressed content has digest")],
)
def test_a_wrong_digest_is_refused_before_the_layer_is_finished(digest: Digest, diff_id: Digest, problem: str) -> None:
    writer = Collected()
    with pytest.raises(CorruptLayer, match=problem):
        run(writer, pieces(BLOB), digest, diff_id)
    assert not writer.finished


def test_a_source_that_fails_ends_everything() -> None:
    def broken() -> Iterator[bytes]:
        yield BLOB[:1000]
        raise ConnectionError("gone")

    with pytest.raises(ConnectionError, match="gone"):
        run(Collected(), broken(), sha(BLOB), sha(TAR))
    with pytest.raises(CorruptLayer, match="cut short"):
        run(Collected(), pieces(BLOB[:1000]), sha(BLOB), sha(TAR))


def test_a_writer_that_fails_ends_everything() -> None:
    endless = tar_of(64 << 20)
    with pytest.raises(CorruptLayer, match="told to fail"):
        run(Collected(fail_at=1000), pieces(endless, 1 << 16), sha(b""), sha(b""))
