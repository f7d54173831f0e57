"""What a conversation with registries consists of: values that the protocol emits and receives. Pure.

A conversation is a generator. It yields steps (`Send`, `Pause`), is sent a `Response` or `Failure` for each `Send`
(None for a `Pause`), and returns its result or raises a PullError.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import TypeVar

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """How to trust a host, beside the system's authorities; `client` are (certificate, key) files."""

    ca: tuple[str, ...] = ()
    client: tuple[tuple[str, str], ...] = ()
    skip_verify: bool = False


NO_TLS = Tls()


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)
    tls: Tls = NO_TLS
    dial_timeout: float = 30.0


class Want(Enum):
    """What is to happen with the body of a successful answer; of others, the beginning is read."""

    WHOLE = "whole"
    STREAM = "stream"


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """`headers` have lower-case names, repeated ones joined by ", ". `body` is empty for a stream."""

    status: int
    headers: Mapping[str, str]
    challenges: tuple[str, ...] = ()
    body: bytes = b""


class Trouble(Enum):
    UNKNOWN = "unknown"  # no such name
    UNREACHABLE = "unreachable"  # no route, refused
    TIMEOUT = "timeout"
    TLS = "tls"  # no TLS at the other end, or none that both know
    UNTRUSTED = "untrusted"  # TLS, with a certificate that proves nothing
    BROKEN = "broken"  # the connection ended, or what came is no HTTP
    TOO_LARGE = "too large"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """No answer came; `text` says why, in the words of the system."""

    trouble: Trouble
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Send:
    request: Request
    want: Want = Want.WHOLE
    limit: int = 64 << 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    seconds: float


Step = Send | Pause
Reply = Response | Failure | None
Conversation = Generator[Step, Reply, Result]
