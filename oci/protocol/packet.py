"""Messages to packets and back. Pure: bytes and descriptor numbers in, values out; opens, sends and closes nothing.

A packet is one JSON object, `{"v": version, "kind": ..., "id": ..., "body": {...}}`, with descriptors beside it. In
the body a descriptor is written as its place among them. `id` joins an answer to its request; events have 0.

A packet longer than `INLINE_LIMIT` does not fit a socket's buffer for certain: `oci.protocol.transport` puts it into a
memfd and sends, in its stead, the text `spill SIZE` with the memfd as the last descriptor.

Version 1. A newer daemon talks to older shims for as long as pods live, so: adding an optional field is no new version,
unknown fields are ignored, and everything else is.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

from oci.errors import SpecError
from oci.protocol.failures import Failure, ProtocolError
from oci.protocol.messages import MESSAGES, Message
from oci.spec import codec

VERSION: Final = 1
INLINE_LIMIT: Final = 32 << 10
#: The kernel takes argv and environment up to 6 MiB; JSON escapes may double what is not ASCII.
SPILL_LIMIT: Final = 16 << 20
#: SCM_MAX_FD (net/scm.h)
FD_LIMIT: Final = 253
_SPILL: Final = b"spill "

_ALL: Final[tuple[type[Message], ...]] = (*MESSAGES, Failure)
_KINDS: Final = {cls.KIND: cls for cls in _ALL}
# Made once: json.dumps with separators builds an encoder for each call. ASCII, so that environment bytes that are not
# UTF-8 (lone surrogates in Python) survive.
_encode: Final = json.JSONEncoder(separators=(",", ":")).encode
_decode: Final = json.JSONDecoder().decode


@dataclass(frozen=True, slots=True)
class Packet:
    """A message with its id; descriptors stand in the message's own fields."""

    id: int
    message: Message


def pack(id: int, message: Message) -> tuple[bytes, tuple[int, ...]]:
    """The packet's bytes and its descriptors, in order. Raises `ProtocolError` when there are too many of either."""
    body = codec.encode(message)
    fds: list[int] = []
    for name in message.FDS:
        value = getattr(message, name)
        if isinstance(value, int):
            body[codec.json_name(name)] = len(fds)
            fds.append(value)
        elif value:
            body[codec.json_name(name)] = list(range(len(fds), len(fds) + len(value)))
            fds.extend(value)
    if len(fds) > FD_LIMIT:
        raise ProtocolError(f"{message.KIND} with {len(fds)} descriptors, at most {FD_LIMIT} can be passed")
    data = _encode({"v": VERSION, "kind": message.KIND, "id": id, "body": body}).encode()
    if len(data) > SPILL_LIMIT:
        raise ProtocolError(f"{message.KIND} is {len(data)} bytes long, the limit is {SPILL_LIMIT}")
    return data, tuple(fds)


def pack_spill(size: int) -> bytes:
    return _SPILL + str(size).encode()


def spill_size(data: bytes) -> int | None:
    """Size of the real packet when this one only announces it, else None."""
    if not data.startswith(_SPILL):
        return None
    digits = data.removeprefix(_SPILL)
    if not digits.isdigit() or len(digits) > 9 or not 0 < int(digits) <= SPILL_LIMIT:
        raise ProtocolError(f"spilled packet of size {digits[:16]!r}")
    return int(digits)


def unpack(data: bytes, fds: tuple[int, ...]) -> Packet:
    """The message of a packet. Raises `ProtocolError`, and then the descriptors are still the caller's to close."""
    document = _object(data)
    kind, id, body = document.get("kind"), document.get("id"), document.get("body")
    cls = _KINDS.get(kind) if isinstance(kind, str) else None
    if cls is None or not isinstance(id, int) or not isinstance(body, dict):
        raise ProtocolError(f"unknown kind of message {kind!r}" if cls is None else f"malformed {kind} message")
    _place(cls, body, fds)
    try:
        return Packet(id, codec.decode(cls, body))
    except SpecError as error:
        raise ProtocolError(f"{kind}: {error.field}: {error.problem}") from error


def _object(data: bytes) -> dict[str, Any]:
    try:
        document = _decode(data.decode())
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"packet of {len(data)} bytes is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise ProtocolError("packet is not a JSON object")
    if document.get("v") != VERSION:
        raise ProtocolError(f"version {document.get('v')!r}, this side speaks {VERSION}")
    return document


def _place(cls: type[Message], body: dict[str, Any], fds: tuple[int, ...]) -> None:
    """Put the descriptors where their places stand; each must be used exactly once."""
    used = []
    for name in cls.FDS:
        key = codec.json_name(name)
        value = body.get(key)
        places = value if isinstance(value, list) else [] if value is None else [value]
        for place in places:
            if not isinstance(place, int) or isinstance(place, bool) or not 0 <= place < len(fds):
                raise ProtocolError(f"{cls.KIND}: {key} names descriptor {place!r} of {len(fds)}")
        used += places
        if value is not None:
            body[key] = [fds[place] for place in places] if isinstance(value, list) else fds[value]
    if sorted(used) != list(range(len(fds))):
        raise ProtocolError(f"{cls.KIND}: {len(fds)} descriptors came, places {used} are named")
