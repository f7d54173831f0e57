"""One thing obtained from whichever host has it: the pull half of the distribution protocol, sans-IO.

    each round: the hosts in order, those that failed lately last
        each host: the request; redirects followed; a 401 answered once with what we can prove
            done | next host (has it not, will not, cannot)
    a pause as long as the registry asks, or growing; then another round, if any host may answer differently

Authorization is never sent to another host than the one it is for, wherever a redirect leads.
"""

from __future__ import annotations

import email.utils
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote, urlencode, urljoin, urlsplit

from imagesvc import errors
from imagesvc.reference import Reference
from imagesvc.registry.challenge import Challenge, parse_challenges
from imagesvc.registry.credentials import Keyring
from imagesvc.registry.hosts import Capability, Host
from imagesvc.registry.messages import Conversation, Failure, Pause, Request, Response, Send, Tls, Trouble, Want
from imagesvc.registry.token import parse_token, token_requests

_MOST_REDIRECTS: Final = 10
_REDIRECTS: Final = frozenset((301, 302, 303, 307, 308))
_BUSY: Final = frozenset((408, 425, 429, 500, 502, 503, 504))
_ROUNDS: Final = 3
_FIRST_PAUSE: Final = 0.5
_LONGEST_PAUSE: Final = 60.0
_LONGEST_ANSWER: Final = 64 << 10
_LONGEST_TOKEN_ANSWER: Final = 1 << 20


@dataclass(slots=True, kw_only=True)
class Session:
    """What one pull knows of its hosts; lives through all of its conversations.

    `authorizations` are headers by a host's base URL; `failed` are the hosts that were unreachable or answered 5xx.
    `random` gives numbers in [0, 1), `now` the wall clock in seconds.
    """

    reference: Reference
    hosts: Sequence[Host]
    keyring: Keyring
    random: Callable[[], float]
    now: Callable[[], float]
    authorizations: dict[str, str] = field(default_factory=dict, repr=False)
    avoid: frozenset[str] = frozenset()
    failed: set[str] = field(default_factory=set)
    rounds: int = _ROUNDS

    def candidates(self, needed: Capability) -> list[Host]:
        able = [host for host in self.hosts if needed in host.capabilities]
        return sorted(able, key=lambda host: host.base in self.avoid or host.base in self.failed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """`kind` is "manifests" or "blobs"; `start` the offset of the first byte wanted."""

    kind: str
    target: str
    method: str = "GET"
    accept: str = ""
    start: int = 0
    want: Want = Want.WHOLE
    limit: int = _LONGEST_ANSWER

    @property
    def by_digest(self) -> bool:
        return ":" in self.target


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    host: Host
    response: Response


@dataclass(frozen=True, slots=True, kw_only=True)
class _Problem:
    """Why a host gave nothing; `again` that it may in a later round."""

    host: Host
    kind: type[errors.PullError]
    text: str
    again: bool = False
    untrusted: bool = False
    retry_after: float | None = None

    @property
    def final(self) -> bool:
        """The image's own registry has given an answer that it will give again."""
        return not (self.host.mirror or self.again or self.kind is errors.RegistryUnavailable)


def obtain(session: Session, resource: Resource) -> Conversation[Answer]:
    """Raises the PullError of the host that counts: the image's own registry, else the last one asked."""
    hosts = session.candidates(Capability.PULL if resource.by_digest else Capability.RESOLVE)
    if not hosts:
        raise errors.RegistryRefused(str(session.reference), "", "no configured host has the capability to serve it")
    for number in range(session.rounds):
        problems: list[_Problem] = []
        for host in hosts:
            if not host.secure and any(each.untrusted and each.host.name == host.name for each in problems):
                continue  # it does have TLS: that it cannot be trusted is no reason to do without
            outcome = yield from _ask(session, host, resource)
            if isinstance(outcome, Answer):
                session.failed.discard(host.base)
                return outcome
            if outcome.kind is errors.RegistryUnavailable:
                session.failed.add(host.base)
            problems.append(outcome)
        pause = _pause(problems, number, session)
        if pause is None:
            break
        yield Pause(seconds=pause)
    raise _verdict(session, problems)


def _pause(problems: list[_Problem], number: int, session: Session) -> float | None:
    """Seconds until another round, None where there is to be none."""
    if any(problem.final for problem in problems):
        return None
    retryable = [problem for problem in problems if problem.again]
    if not retryable or number + 1 >= session.rounds:
        return None
    asked = [problem.retry_after for problem in retryable if problem.retry_after is not None]
    growing = _FIRST_PAUSE * 2**number * (1 + session.random() / 2)
    pause = max(min(asked), growing) if len(asked) == len(retryable) else growing
    return pause if pause <= _LONGEST_PAUSE else None


def _verdict(session: Session, problems: list[_Problem]) -> errors.PullError:
    own = [problem for problem in problems if not problem.host.mirror]
    # This machine's own registry is asked with and without TLS: the way that got an answer tells more.
    answered = [problem for problem in own if problem.kind is not errors.RegistryUnavailable]
    main = (answered or own or problems)[-1]
    others = "".join(f"; {each.host.name}: {each.text}" for each in problems if each.host.name != main.host.name)
    arguments = (str(session.reference), main.host.name, main.text + others)
    if main.kind is errors.TooManyRequests:
        return errors.TooManyRequests(*arguments, main.retry_after)
    return main.kind(*arguments)


# --- one host -----------------------------------------------------------------------------------------------------


def _ask(session: Session, host: Host, resource: Resource) -> Conversation[Answer | _Problem]:
    answered_challenge = False
    while True:
        request = _request(session, host, resource)
        reply = yield from _follow(request, resource, host)
        if isinstance(reply, _Problem):
            return reply
        if reply.status == 401 and not answered_challenge:
            answered_challenge = True
            authorization = yield from _authorization(session, host, reply)
            if isinstance(authorization, _Problem):
                return authorization
            if authorization:
                session.authorizations[host.base] = authorization
                continue
        if reply.status in (200, 206):
            return Answer(host=host, response=reply)
        return _refusal(session, host, reply)


def _request(session: Session, host: Host, resource: Resource) -> Request:
    url = f"{host.base}/{quote(session.reference.path)}/{resource.kind}/{quote(resource.target, safe=':')}"
    if host.mirror:
        url += "?" + urlencode({"ns": session.reference.domain})
    headers = dict(host.headers)
    if resource.accept:
        headers["Accept"] = resource.accept
    if resource.start:
        headers["Range"] = f"bytes={resource.start}-"
    if host.base in session.authorizations:
        headers["Authorization"] = session.authorizations[host.base]
    return Request(method=resource.method, url=url, headers=headers, tls=host.tls, dial_timeout=host.dial_timeout)


def _follow(request: Request, resource: Resource, host: Host) -> Conversation[Response | _Problem]:
    """The answer at the end of the redirects."""
    for _ in range(_MOST_REDIRECTS):
        reply = yield Send(request=request, want=resource.want, limit=resource.limit)
        assert reply is not None
        if isinstance(reply, Failure):
            return _trouble(host, request.url, reply)
        if reply.status not in _REDIRECTS or "location" not in reply.headers:
            away = _origin(request.url) != _origin(host.base)
            if away and reply.status == 401:
                text = f"redirected to {urlsplit(request.url).netloc}, which answered 401"
                return _Problem(host=host, kind=errors.Unauthorized, text=text)
            return reply
        target = urljoin(request.url, reply.headers["location"])
        problem = _unsafe(request.url, target, resource)
        if problem:
            return _Problem(host=host, kind=errors.RegistryRefused, text=problem)
        request = _redirected(request, target, host)
    return _Problem(host=host, kind=errors.RegistryRefused, text=f"more than {_MOST_REDIRECTS} redirects")


def _unsafe(url: str, target: str, resource: Resource) -> str:
    parts = urlsplit(target)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
        return f"redirected to {target[:200]!r}, which is not the URL of a host"
    if url.startswith("https:") and parts.scheme == "http" and not resource.by_digest:
        return f"redirected from TLS to http at {parts.netloc}, where nothing proves what a tag means"
    return ""


def _redirected(request: Request, target: str, host: Host) -> Request:
    if _origin(target) == _origin(host.base):
        return Request(
            method=request.method, url=target, headers=request.headers, tls=host.tls, dial_timeout=host.dial_timeout
        )
    own = {name.lower() for name in host.headers} | {"authorization"}
    headers = {name: value for name, value in request.headers.items() if name.lower() not in own}
    tls = Tls(ca=host.tls.ca, skip_verify=host.tls.skip_verify)
    return Request(method=request.method, url=target, headers=headers, tls=tls, dial_timeout=host.dial_timeout)


def _origin(url: str) -> tuple[str, str, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def _trouble(host: Host, url: str, failure: Failure) -> _Problem:
    where = urlsplit(url).netloc
    text = failure.text if where == host.name else f"redirected to {where}: {failure.text}"
    if failure.trouble is Trouble.TOO_LARGE:
        return _Problem(host=host, kind=errors.CorruptContent, text=text)
    # A host that let the whole timeout pass is not asked again: the caller waits.
    again = failure.trouble in (Trouble.UNREACHABLE, Trouble.BROKEN)
    untrusted = failure.trouble is Trouble.UNTRUSTED
    return _Problem(host=host, kind=errors.RegistryUnavailable, text=text, again=again, untrusted=untrusted)


def _refusal(session: Session, host: Host, response: Response) -> _Problem:
    status = response.status
    text = f"answered {status}{_message(response.body)}"
    if status == 404:
        return _Problem(host=host, kind=errors.ImageNotFound, text=text)
    if status in (401, 403):
        return _Problem(host=host, kind=errors.Unauthorized, text=text)
    if status in _BUSY:
        kind = errors.TooManyRequests if status == 429 else errors.RegistryUnavailable
        after = _retry_after(response.headers.get("retry-after", ""), session.now())
        return _Problem(host=host, kind=kind, text=text, again=True, retry_after=after)
    if status >= 500:
        return _Problem(host=host, kind=errors.RegistryUnavailable, text=text)
    return _Problem(host=host, kind=errors.RegistryRefused, text=text)


def _message(body: bytes) -> str:
    """What distribution's error document says; nothing of any other body, which may be a page of anything."""
    try:
        first = json.loads(body)["errors"][0]
        parts = [str(first[key]) for key in ("code", "message") if first.get(key)]
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return ""
    text = "".join(char if char.isprintable() else " " for char in ": ".join(parts))
    return f": {text[:300]}" if text else ""


def _retry_after(value: str, now: float) -> float | None:
    """Seconds; the header holds them or a date."""
    if value.strip().isdigit():
        return float(value.strip()[:9])
    try:
        moment = email.utils.parsedate_to_datetime(value)
    except (ValueError, TypeError):
        return None
    return max(0.0, moment.timestamp() - now)


# --- authentication -----------------------------------------------------------------------------------------------


def _authorization(session: Session, host: Host, response: Response) -> Conversation[str | _Problem]:
    """The header that answers the challenges; "" where there is none to give."""
    challenges = {challenge.scheme: challenge for challenge in reversed(parse_challenges(response.challenges))}
    try:
        login = session.keyring.login(host.name)
    except ValueError as error:
        return _Problem(host=host, kind=errors.Unauthorized, text=str(error))
    if "bearer" in challenges:
        if login is not None and login.registry_token:
            return f"Bearer {login.registry_token}"
        return (yield from _token(session, host, challenges["bearer"]))
    if "basic" in challenges and login is not None and login.basic:
        return login.basic
    wanted = f" (it wants {', '.join(challenges)})" if challenges else ""
    missing = "and there are no credentials for it" if login is None else "and cannot be given what it wants"
    text = f"answered 401{_message(response.body)}, {missing}{wanted}"
    return _Problem(host=host, kind=errors.Unauthorized, text=text)


def _token(session: Session, host: Host, challenge: Challenge) -> Conversation[str | _Problem]:
    scope = f"repository:{session.reference.path}:pull"
    try:
        login = session.keyring.login(host.name)
        requests = token_requests(challenge, login, scope, host.tls, secure=host.secure)
    except ValueError as error:
        return _Problem(host=host, kind=errors.Unauthorized, text=str(error))
    problem: _Problem | None = None
    for request in requests:
        reply = yield Send(request=request, limit=_LONGEST_TOKEN_ANSWER)
        assert reply is not None
        where = f"token server {urlsplit(request.url).netloc}"
        if isinstance(reply, Failure):
            return _Problem(host=host, kind=errors.RegistryUnavailable, text=f"{where}: {reply.text}", again=True)
        if reply.status == 200:
            try:
                return f"Bearer {parse_token(reply.body)}"
            except ValueError as error:
                return _Problem(host=host, kind=errors.RegistryRefused, text=f"{where}: {error}")
        refusal = _refusal(session, host, reply)
        kind = errors.Unauthorized if reply.status in (400, 404) else refusal.kind
        problem = _Problem(
            host=host,
            kind=kind,
            text=f"{where} {refusal.text}",
            again=refusal.again,
            retry_after=refusal.retry_after,
        )
        if reply.status not in (400, 404, 405):
            break
    assert problem is not None
    return problem
