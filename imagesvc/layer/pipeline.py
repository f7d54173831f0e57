"""A layer in one pass: compressed bytes in; their digest, the tar's digest and a written layer out.

Three threads of one process, since hashing, inflating and reading sockets all let go of the interpreter lock:

    fetch and inflate ──► hash both digests
                     └──► parse and write (the caller's thread)

Nothing is believed before both digests agree: `write_layer` finishes the layer only then.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final, Generic, TypeVar

from imagesvc.digest import Digest, Hash, matches, new_hash
from imagesvc.layer.errors import CorruptLayer
from imagesvc.layer.inflate import Inflater
from imagesvc.layer.writer import LayerFacts, LayerWriter

_QUEUED: Final = 16
_LARGEST_FEED: Final = 128 << 10  # eStargz has many small members: each leaves a copy of the rest behind

Item = TypeVar("Item")


class _Closed(Exception):
    """The other side has given up."""


class _Queue(Generic[Item]):
    """Bounded, for one producer and one consumer, either of which may end it."""

    def __init__(self) -> None:
        self._items: deque[Item] = deque()
        self._condition = threading.Condition()
        self._ended = False
        self._abandoned = False

    def put(self, item: Item) -> None:
        with self._condition:
            while len(self._items) >= _QUEUED and not self._abandoned:
                self._condition.wait()
            if self._abandoned:
                raise _Closed
            self._items.append(item)
            self._condition.notify()

    def end(self) -> None:
        with self._condition:
            self._ended = True
            self._condition.notify()

    def abandon(self) -> None:
        with self._condition:
            self._abandoned = True
            self._items.clear()
            self._condition.notify()

    def get(self) -> Item | None:
        """None after the last one."""
        with self._condition:
            while not self._items and not self._ended:
                self._condition.wait()
            if not self._items:
                return None
            item = self._items.popleft()
            self._condition.notify()
            return item


def write_layer(
    pieces: Iterable[bytes], *, digest: Digest, diff_id: Digest, writer: LayerWriter, on_bytes: Callable[[int], None]
) -> LayerFacts:
    """`pieces` is the compressed stream, `on_bytes` hears how much of it has come.

    Raises CorruptLayer, OSError, and whatever `pieces` raises.
    """
    tar: _Queue[bytes] = _Queue()
    hashed: _Queue[tuple[Hash, bytes]] = _Queue()
    blob_hash, tar_hash = new_hash(digest), new_hash(diff_id)
    failures: list[BaseException] = []

    def fetch() -> None:
        inflater = Inflater()
        try:
            for piece in pieces:
                on_bytes(len(piece))
                hashed.put((blob_hash, piece))
                for start in range(0, len(piece), _LARGEST_FEED):
                    for inflated in inflater.feed(piece[start : start + _LARGEST_FEED]):
                        hashed.put((tar_hash, inflated))
                        tar.put(inflated)
            inflater.close()
        except _Closed:
            pass
        except BaseException as error:
            failures.append(error)
        finally:
            tar.end()
            hashed.end()

    def hash_all() -> None:
        while (item := hashed.get()) is not None:
            item[0].update(item[1])

    threads = [threading.Thread(target=fetch, name="fetch"), threading.Thread(target=hash_all, name="hash")]
    for thread in threads:
        thread.start()
    try:
        while (data := tar.get()) is not None:
            writer.feed(data)
    finally:
        tar.abandon()
        for thread in threads:
            thread.join()
    if failures:
        raise failures[0]
    _verify(digest, blob_hash, "")
    _verify(diff_id, tar_hash, "uncompressed ")
    return writer.finish()


def _verify(digest: Digest, computed: Hash, what: str) -> None:
    if not matches(digest, computed):
        algorithm = digest.partition(":")[0]
        raise CorruptLayer(f"its {what}content has digest {algorithm}:{computed.hexdigest()}, not {digest}")
