"""Blobs through broken connections."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import pytest

from imagesvc import errors
from imagesvc.digest import sha256_of
from imagesvc.manifest import Descriptor
from imagesvc.registry.client import Client
from imagesvc.registry.messages import (
    NO_TLS,
    Failure,
    Response,
    Send,
    Tls,
    Trouble,
)
from imagesvc.registry.transport import Interrupted, Transport
from tests.registry_script import (
    HANGS,
    session,
)

CONTENT = bytes(range(256)) * 40
DESCRIPTOR = Descriptor(media_type="x", digest=sha256_of(CONTENT), size=len(CONTENT))
BROKEN = Failure(trouble=Trouble.BROKEN, text="the connection broke off")


class Blobs(Transport):
    """Each entry of `plan` says how the next answer looks: (status, first byte, last byte, failure at the end)."""

    def __init__(self, *plan: tuple[int, int, int, Failure | None], **headers: str) -> None:
        super().__init__(progress_timeout=1)
        self.plan = list(plan)
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}
        self.ranges: list[str] = []

    def send(self, step: Send) -> Response | Failure:
        self.ranges.append(step.request.headers.get("Range", ""))
        status, start, end, self.failure = self.plan.pop(0)
        self.body = CONTENT[start:end]
        headers = {"content-range": f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}"} if status == 206 else {}
        return Response(status=status, headers={**headers, **self.headers})

    def stream(self) -> Iterator[bytes]:
        for start in range(0, len(self.body), 1000):
            yield self.body[start : start + 1000]
        if self.failure:
            raise Interrupted(self.failure)


def fetch(transport: Blobs) -> tuple[bytes, list[float], int]:
    pauses: list[float] = []
    retries: list[int] = []
    client = Client(session(), transport, pauses.append)
    content = b"".join(client.blob(DESCRIPTOR, lambda: retries.append(1)))
    assert hashlib.sha256(content).hexdigest() == DESCRIPTOR.digest.partition(":")[2]
    return content, pauses, len(retries)


END = len(CONTENT)


def test_a_blob_in_one_piece() -> None:
    assert fetch(Blobs((200, 0, END, None))) == (CONTENT, [], 0)


@pytest.mark.parametrize("failure", [BROKEN, None, HANGS])
def test_an_interrupted_blob_goes_on_where_it_stopped(failure: Failure | None) -> None:
    transport = Blobs((200, 0, 4321, failure), (206, 4321, END, None))
    assert fetch(transport)[2] == 1
    assert transport.ranges == ["", "bytes=4321-"]


def test_a_registry_without_ranges_sends_all_again() -> None:
    assert fetch(Blobs((200, 0, 4321, BROKEN), (200, 0, END, None)))[0] == CONTENT
    assert fetch(Blobs((200, 0, 4321, BROKEN), (200, 0, 2000, BROKEN), (206, 4321, END, None)))[0] == CONTENT


@pytest.mark.parametrize(
    ("transport", "kind", "text"),
    [
        (Blobs((200, 0, 4321, BROKEN), (206, 4000, END, None)), errors.CorruptContent, "came as"),
        (
            Blobs((200, 0, 4321, BROKEN), (206, 4321, END, None), content_range="bytes 4321-/x"),
            errors.CorruptContent,
            "came",
        ),
        (Blobs((200, 0, END, None), content_length="5"), errors.CorruptContent, "has 5 bytes instead of 10240"),
        (Blobs(*[(200, 0, 10, BROKEN)] * 7), errors.RegistryUnavailable, "after 10 of 10240 bytes"),
        (Blobs(*[(200, 0, 10, HANGS)] * 7), errors.RegistryUnavailable, "no answer for 60 s after 10"),
        (Blobs((200, 0, 10, BROKEN), (416, 0, 0, None)), errors.RegistryRefused, "416"),
    ],
)
def test_blobs_that_do_not_come(transport: Blobs, kind: type[errors.PullError], text: str) -> None:
    with pytest.raises(kind, match=text):
        fetch(transport)


def test_a_blob_that_is_too_long() -> None:
    short = Descriptor(media_type="x", digest=DESCRIPTOR.digest, size=100)
    client = Client(session(), Blobs((200, 0, END, None)), lambda _: None)
    with pytest.raises(errors.CorruptContent, match="more than 100 bytes"):
        list(client.blob(short, lambda: None))


def test_an_empty_blob() -> None:
    empty = Descriptor(media_type="x", digest=sha256_of(b""), size=0)
    assert list(Client(session(), Blobs((200, 0, 0, None)), lambda _: None).blob(empty, lambda: None)) == []


def test_nothing_is_trusted_by_default() -> None:
    assert Tls(ca=(), client=(), skip_verify=False) == NO_TLS
