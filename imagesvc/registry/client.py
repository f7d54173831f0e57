"""Conversations held over a transport, and blobs read through broken connections. Runs in the worker processes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final

from imagesvc import errors
from imagesvc.manifest import Descriptor
from imagesvc.registry.exchange import Answer, Resource, Session, obtain
from imagesvc.registry.hosts import Host
from imagesvc.registry.messages import Conversation, Failure, Pause, Reply, Result, Trouble, Want
from imagesvc.registry.transport import Interrupted, Transport

_CONTENT_RANGE: Final = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")
_MOST_INTERRUPTIONS: Final = 4
_WORTH_A_RETRY: Final = 1 << 20


class Client:
    def __init__(self, session: Session, transport: Transport, sleep: Callable[[float], None]) -> None:
        self.session = session
        self.source: Host | None = None  # who the last blob came from
        self._transport = transport
        self._sleep = sleep

    def hold(self, conversation: Conversation[Result]) -> Result:
        """To its end. Raises PullError."""
        reply: Reply = None
        try:
            step = next(conversation)
            while True:
                if isinstance(step, Pause):
                    self._sleep(step.seconds)
                    reply = None
                else:
                    reply = self._transport.send(step)
                step = conversation.send(reply)
        except StopIteration as end:
            result: Result = end.value
            return result

    def blob(self, descriptor: Descriptor, on_retry: Callable[[], None]) -> Iterator[bytes]:
        """The descriptor's size in bytes, across interruptions; the digest is the caller's. Raises PullError."""
        offset, interruptions, progress = 0, 0, 0
        while offset < descriptor.size or not descriptor.size:
            answer = self.hold(
                obtain(
                    self.session,
                    Resource(kind="blobs", target=descriptor.digest, start=offset, want=Want.STREAM),
                )
            )
            self.source = answer.host
            skip = self._skip(answer, descriptor, offset)
            try:
                for piece in self._transport.stream():
                    if skip:
                        piece, skip = piece[skip:], max(0, skip - len(piece))
                    offset += len(piece)
                    progress += len(piece)
                    if offset > descriptor.size:
                        raise self._corrupt(answer, descriptor, f"has more than {descriptor.size} bytes")
                    if piece:
                        yield piece
                if offset >= descriptor.size:
                    return
                failure = Failure(trouble=Trouble.BROKEN, text="the connection broke off")
            except Interrupted as error:
                failure = error.failure
            interruptions = 1 if progress >= _WORTH_A_RETRY else interruptions + 1
            progress = 0
            stalled = failure.trouble is Trouble.TIMEOUT and interruptions > 1
            if stalled or interruptions > _MOST_INTERRUPTIONS:
                cause = f"{descriptor.digest}: {failure.text} after {offset} of {descriptor.size} bytes"
                raise errors.RegistryUnavailable(str(self.session.reference), answer.host.name, cause)
            on_retry()
            self._sleep(0.1 * 2**interruptions)

    def _skip(self, answer: Answer, descriptor: Descriptor, offset: int) -> int:
        """Bytes at the answer's beginning that are here already."""
        headers = answer.response.headers
        if answer.response.status == 206:
            match = _CONTENT_RANGE.fullmatch(headers.get("content-range", ""))
            if not match or int(match[1]) != offset or match[3] not in ("*", str(descriptor.size)):
                raise self._corrupt(answer, descriptor, f"came as {headers.get('content-range', '')[:80]!r} instead")
            return 0
        length = headers.get("content-length", "")
        if length.isdigit() and int(length) != descriptor.size:
            raise self._corrupt(answer, descriptor, f"has {length} bytes instead of {descriptor.size}")
        return offset  # the registry knows no ranges

    def _corrupt(self, answer: Answer, descriptor: Descriptor, problem: str) -> errors.CorruptContent:
        return errors.CorruptContent(str(self.session.reference), answer.host.name, f"{descriptor.digest} {problem}")
