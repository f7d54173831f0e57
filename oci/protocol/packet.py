"""Messages to packets and back. Pure: bytes and descriptor numbers in, values out; opens, sends and closes nothing.

A packet is a line and a JSON object, with descriptors beside it; in the object a descriptor is written as its place
among them.

    <version> <kind> <id> <key>\n{...}

`id` joins an answer to its request; events have 0. `key` is the message's container id, with `/` and its exec id where
it has one, or `-`. The line says all that is needed to hand a request on, or to start a container: a shim that reads no
JSON stays smaller.

A packet longer than `INLINE_LIMIT` does not fit a socket's buffer for certain: `oci.protocol.transport` puts it into a
memfd and sends, in its stead, the text `spill SIZE` with the memfd as the last descriptor.

Version 1. A newer daemon talks to older shims for as long as pods live, so: adding an optional field is no new version,
unknown fields are ignored, and everything else is.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final, NamedTuple

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
_VERSION: Final = b"%d" % VERSION

_ALL: Final[tuple[type[Message], ...]] = (*MESSAGES, Failure)
_KINDS: Final = {cls.KIND: cls for cls in _ALL}
# Made once: json.dumps with separators builds an encoder for each call. ASCII, so that environment bytes that are not
# UTF-8 (lone surrogates in Python) survive.
_encode: Final = json.JSONEncoder(separators=(",", ":")).encode
# The decoder's C half alone: nothing around the object is skipped.
_scan: Final = json.JSONDecoder().scan_once  # type: ignore[attr-defined]
# A key stands in a line between spaces, and in templates of events.
_KEY: Final = re.compile(r"[A-Za-z0-9_.+-]{1,255}")


class Packet(NamedTuple):
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
    data = line(message.KIND, id, *_keys(message)) + _encode(body).encode()
    if len(data) > SPILL_LIMIT:
        raise ProtocolError(f"{message.KIND} is {len(data)} bytes long, the limit is {SPILL_LIMIT}")
    return data, tuple(fds)


def _keys(message: Message) -> tuple[str, ...]:
    container_id = getattr(message, "container_id", "-")
    exec_id = getattr(message, "exec_id", None)
    return (container_id,) if exec_id is None else (container_id, exec_id)


def line(kind: str, id: int, *keys: str) -> bytes:
    key = "/".join([checked_key(key) for key in keys])
    return b"%b %b %d %b\n" % (_VERSION, kind.encode(), id, key.encode())


def checked_key(key: str) -> str:
    """A container's or an exec's id as it may stand in a line. Raises `ProtocolError`."""
    if not _KEY.fullmatch(key):
        raise ProtocolError(f"{key[:80]!r} is no id")
    return key


def pack_done(id: int) -> bytes:
    """The packet of a `Done`, cheaply."""
    return b"1 done %d -\n{}" % id


def pack_exec_started(id: int, pid: int, *, terminal: bool) -> bytes:
    """The packet of an `ExecStarted` with its pidfd, and console, as the descriptors; cheaply."""
    console = b',"consoleFd":1' if terminal else b""
    return b'1 exec_started %d -\n{"pid":%d,"pidfd":0%b}' % (id, pid, console)


def exec_exited_template(container_id: str, exec_id: str, pid: int) -> bytes:
    """The packet of an `ExecExited` event but for two numbers: `template % (status, finished_at)`. The ids come from a
    packet's line, so they need no quoting."""
    text = '1 exec_exited 0 %s/%s\n{"containerID":"%s","execId":"%s","pid":%d,"status":%%d,"finishedAt":%%d}'
    return (text % (container_id, exec_id, container_id, exec_id, pid)).encode()


def split(data: bytes) -> tuple[bytes, int, str]:
    """(kind, id, key) of a packet's line. Raises `ProtocolError`."""
    words = data[: data.find(b"\n")].split(b" ")
    if len(words) != 4 or words[0] != _VERSION or not words[2].isdigit():
        version = words[0][:16].decode(errors="replace")
        raise ProtocolError(f"malformed packet of version {version!r}, this side speaks {VERSION}")
    return words[1], int(words[2]), words[3].decode(errors="replace")


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
    name, id, key = split(data)
    kind = name.decode(errors="replace")
    cls = _KINDS.get(kind)
    if cls is None:
        raise ProtocolError(f"unknown kind of message {kind!r}")
    body = _object(kind, data)
    _place(cls, body, fds)
    try:
        message: Message = codec.decode(cls, body)
    except SpecError as error:
        raise ProtocolError(f"{kind}: {error.field}: {error.problem}") from error
    if "/".join(_keys(message)) != key:
        raise ProtocolError(f"{kind}: the line says {key!r}, the body another id")
    return Packet(id, message)


def _object(kind: str, data: bytes) -> dict[str, Any]:
    try:
        text = data[data.find(b"\n") + 1 :].decode()
        document, end = _scan(text, 0)
    except (ValueError, StopIteration, RecursionError) as error:
        raise ProtocolError(f"{kind}: body is not JSON: {error}") from error
    if not isinstance(document, dict) or end != len(text):
        raise ProtocolError(f"{kind}: body is not a JSON object")
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
