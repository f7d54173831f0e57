"""A registry that is a script: requests answered without a network, and the wire that holds conversations with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from imagesvc.reference import parse_reference
from imagesvc.registry.credentials import Credentials, Keyring
from imagesvc.registry.exchange import Resource, Session
from imagesvc.registry.hosts import Host
from imagesvc.registry.messages import (
    Conversation,
    Failure,
    Pause,
    Reply,
    Request,
    Response,
    Result,
    Tls,
    Trouble,
    Want,
)

UPSTREAM = Host(base="https://r.example/v2", tls=Tls(ca=("ca.pem",), client=(("c", "k"),)))
MIRROR = Host(base="https://m.example/v2", mirror=True, headers={"x-key": "1"})
BLOB = "sha256:" + "b" * 64
REFUSED = Failure(trouble=Trouble.UNREACHABLE, text="connection refused")
HANGS = Failure(trouble=Trouble.TIMEOUT, text="no answer for 60 s")

Script = Callable[[Request], Response | Failure]


def answer(status: int, body: bytes = b"", **headers: str) -> Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    challenges = (named["www-authenticate"],) if "www-authenticate" in named else ()
    return Response(status=status, headers=named, challenges=challenges, body=body)


@dataclass
class Wire:
    """Holds a conversation; keeps what was sent and how long it paused."""

    script: Script
    sent: list[Request] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)

    def hold(self, conversation: Conversation[Result]) -> Result:
        reply: Reply = None
        try:
            step = next(conversation)
            while True:
                if isinstance(step, Pause):
                    self.pauses.append(step.seconds)
                    reply = None
                else:
                    self.sent.append(step.request)
                    reply = self.script(step.request)
                step = conversation.send(reply)
        except StopIteration as end:
            result: Result = end.value
            return result

    @property
    def urls(self) -> list[str]:
        return [request.url for request in self.sent]


def session(*hosts: Host, credentials: Credentials | None = None, reference: str = "r.example/a/b:1") -> Session:
    parsed = parse_reference(reference)
    return Session(
        reference=parsed,
        hosts=hosts or (UPSTREAM,),
        keyring=Keyring(parsed.domain, parsed.path, credentials),
        random=lambda: 0.0,
        now=lambda: 1_700_000_000.0,
    )


def by_tag() -> Resource:
    return Resource(kind="manifests", target="1", accept="x/y")


def by_digest() -> Resource:
    return Resource(kind="blobs", target=BLOB, want=Want.STREAM)


def once(*replies: Response | Failure) -> Script:
    left = iter(replies)
    return lambda request: next(left)


def per_host(**replies: Response | Failure) -> Script:
    return lambda request: replies[request.url.split("/")[2].partition(".")[0]]
