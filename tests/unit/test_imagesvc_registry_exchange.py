"""The distribution protocol without a network: a script answers the requests, and they are looked at."""

from __future__ import annotations

import base64
import json

import pytest

from imagesvc import errors
from imagesvc.registry.credentials import Credentials
from imagesvc.registry.exchange import Resource, obtain
from imagesvc.registry.hosts import Capability, Host
from imagesvc.registry.messages import (
    Failure,
    Request,
    Response,
    Trouble,
)
from tests.registry_script import (
    BLOB,
    HANGS,
    MIRROR,
    REFUSED,
    UPSTREAM,
    Script,
    Wire,
    answer,
    by_digest,
    by_tag,
    once,
    per_host,
    session,
)

# --- hosts, mirrors, failures ---------------------------------------------------------------------------------------


def test_a_request_names_the_repository_and_what_is_accepted() -> None:
    wire = Wire(once(answer(200, b"x")))
    got = wire.hold(obtain(session(), by_tag()))
    assert got.response.body == b"x"
    (request,) = wire.sent
    assert (request.method, request.url) == ("GET", "https://r.example/v2/a/b/manifests/1")
    assert request.headers == {"Accept": "x/y"}
    assert request.tls == UPSTREAM.tls


def test_mirrors_come_first_and_are_told_whose_image_it_is() -> None:
    wire = Wire(per_host(m=answer(404), r=answer(200)))
    got = wire.hold(obtain(session(MIRROR, UPSTREAM), by_tag()))
    assert got.host is UPSTREAM
    assert wire.urls == ["https://m.example/v2/a/b/manifests/1?ns=r.example", "https://r.example/v2/a/b/manifests/1"]
    assert wire.sent[0].headers["x-key"] == "1"
    assert "x-key" not in wire.sent[1].headers


def test_capabilities_say_which_host_is_asked_for_what() -> None:
    blobs_only = Host(base="https://m.example/v2", mirror=True, capabilities=Capability.PULL)
    wire = Wire(lambda request: answer(200))
    wire.hold(obtain(session(blobs_only, UPSTREAM), by_tag()))
    wire.hold(obtain(session(blobs_only, UPSTREAM), by_digest()))
    assert [url.split("/")[2] for url in wire.urls] == ["r.example", "m.example"]
    with pytest.raises(errors.RegistryRefused, match="no configured host"):
        wire.hold(obtain(session(Host(base="https://m.example/v2", capabilities=Capability.PUSH)), by_tag()))


@pytest.mark.parametrize("trouble", [answer(500), answer(503), answer(429), REFUSED, HANGS, answer(401), answer(403)])
def test_a_mirror_that_fails_is_passed_over_at_once(trouble: Response | Failure) -> None:
    wire = Wire(per_host(m=trouble, r=answer(200)))
    assert wire.hold(obtain(session(MIRROR, UPSTREAM), by_tag())).host is UPSTREAM
    assert wire.pauses == []


def test_hosts_that_failed_lately_come_last() -> None:
    wire = Wire(per_host(m=REFUSED, r=answer(200)))
    opened = session(MIRROR, UPSTREAM)
    wire.hold(obtain(opened, by_tag()))
    wire.hold(obtain(opened, by_digest()))
    assert [url.split("/")[2] for url in wire.urls] == ["m.example", "r.example", "r.example"]
    assert opened.failed == {MIRROR.base}
    later = session(MIRROR, UPSTREAM)
    later.avoid = frozenset((MIRROR.base,))
    assert [host.name for host in later.candidates(Capability.PULL)] == ["r.example", "m.example"]


@pytest.mark.parametrize(
    ("reply", "kind", "text", "requests"),
    [
        (answer(404), errors.ImageNotFound, "answered 404", 1),
        (answer(403), errors.Unauthorized, "answered 403", 1),
        (answer(401), errors.Unauthorized, "answered 401, and there are no credentials", 1),
        (answer(429), errors.TooManyRequests, "answered 429", 3),
        (answer(500), errors.RegistryUnavailable, "answered 500", 3),
        (answer(501), errors.RegistryUnavailable, "answered 501", 1),
        (answer(400), errors.RegistryRefused, "answered 400", 1),
        (answer(302), errors.RegistryRefused, "answered 302", 1),
        (REFUSED, errors.RegistryUnavailable, "connection refused", 3),
        (HANGS, errors.RegistryUnavailable, "no answer", 1),
        (Failure(trouble=Trouble.UNTRUSTED, text="not trusted"), errors.RegistryUnavailable, "not trusted", 1),
        (Failure(trouble=Trouble.UNKNOWN, text="no name"), errors.RegistryUnavailable, "no name", 1),
        (Failure(trouble=Trouble.TOO_LARGE, text="too large"), errors.CorruptContent, "too large", 1),
    ],
)
def test_answers_that_are_no_success(
    reply: Response | Failure, kind: type[errors.PullError], text: str, requests: int
) -> None:
    wire = Wire(lambda request: reply)
    with pytest.raises(kind, match=text) as caught:
        wire.hold(obtain(session(), by_tag()))
    assert type(caught.value) is kind
    assert (caught.value.reference, caught.value.host) == ("r.example/a/b:1", "r.example")
    assert len(wire.sent) == requests
    assert "r.example/a/b:1" in str(caught.value)
    assert str(caught.value).startswith("RegistryUnavailable: ") == (kind is errors.RegistryUnavailable)


def test_a_local_registry_whose_certificate_is_not_trusted_is_not_asked_without_tls() -> None:
    both = Host(base="https://localhost:1/v2"), Host(base="http://localhost:1/v2")
    for trouble, count in ((Trouble.UNTRUSTED, 1), (Trouble.TLS, 2)):
        failure = Failure(trouble=trouble, text="no")
        wire = Wire(lambda request, failure=failure: failure if request.url[4] == "s" else answer(200))  # type: ignore[misc]
        conversation = obtain(session(*both, reference="localhost:1/a/b:1"), by_tag())
        if count == 1:
            with pytest.raises(errors.RegistryUnavailable):
                wire.hold(conversation)
        else:
            wire.hold(conversation)
        assert len(wire.sent) == count


def test_the_registrys_own_words_are_in_the_message() -> None:
    body = json.dumps({"errors": [{"code": "MANIFEST_UNKNOWN", "message": "no\n such\x00 tag"}]}).encode()
    with pytest.raises(errors.ImageNotFound, match="answered 404: MANIFEST_UNKNOWN: no  such  tag"):
        Wire(once(answer(404, body))).hold(obtain(session(), by_tag()))
    for odd in (b"<html>", b"[]", b'{"errors": {}}', b'{"errors": [null]}', b"[" * 100_000):
        with pytest.raises(errors.ImageNotFound, match=r"answered 404$"):
            Wire(once(answer(404, odd))).hold(obtain(session(), by_tag()))


def test_the_error_is_that_of_the_registry_itself_and_names_the_others() -> None:
    wire = Wire(per_host(m=REFUSED, r=answer(404)))
    with pytest.raises(errors.ImageNotFound, match=r"from r\.example: answered 404; m\.example: connection refused"):
        wire.hold(obtain(session(MIRROR, UPSTREAM), by_tag()))
    assert len(wire.sent) == 2  # it will not have the image in a second either


def test_pauses_grow_and_follow_retry_after() -> None:
    wire = Wire(once(answer(503), answer(503), answer(200)))
    wire.hold(obtain(session(), by_tag()))
    assert wire.pauses == [0.5, 1.0]
    wire = Wire(once(answer(429, retry_after="7"), answer(200)))
    wire.hold(obtain(session(), by_tag()))
    assert wire.pauses == [7.0]
    wire = Wire(once(answer(429, retry_after="Tue, 14 Nov 2023 22:13:30 GMT"), answer(200)))
    wire.hold(obtain(session(), by_tag()))
    assert wire.pauses == [10.0]
    wire = Wire(once(answer(429, retry_after="soon"), answer(200)))
    wire.hold(obtain(session(), by_tag()))
    assert wire.pauses == [0.5]


def test_a_registry_that_asks_for_too_long_a_pause_fails_at_once() -> None:
    wire = Wire(lambda request: answer(429, retry_after="3600"))
    with pytest.raises(errors.TooManyRequests) as caught:
        wire.hold(obtain(session(), by_tag()))
    assert caught.value.retry_after == 3600
    assert len(wire.sent) == 1


# --- redirects ------------------------------------------------------------------------------------------------------


def test_redirects_lose_the_authorization_at_the_border() -> None:
    opened = session(Host(base=UPSTREAM.base, tls=UPSTREAM.tls, headers={"x-key": "1"}))
    opened.authorizations[UPSTREAM.base] = "Bearer t"
    wire = Wire(
        once(
            answer(307, location="/elsewhere?x=1"),
            answer(302, location="https://cdn.example/blob"),
            answer(301, location="https://r.example/back"),
            answer(200),
        )
    )
    wire.hold(obtain(opened, Resource(kind="blobs", target=BLOB, start=5)))
    authorizations = [request.headers.get("Authorization") for request in wire.sent]
    assert authorizations == ["Bearer t", "Bearer t", None, None]
    assert [request.headers.get("x-key") for request in wire.sent] == ["1", "1", None, None]
    assert all(request.headers["Range"] == "bytes=5-" for request in wire.sent)
    assert [bool(request.tls.client) for request in wire.sent] == [True, True, False, True]
    assert wire.urls[1] == "https://r.example/elsewhere?x=1"


@pytest.mark.parametrize("other", ["https://r.example:444/x", "http://r.example/x", "https://r.example.evil.example/x"])
def test_another_port_scheme_or_name_is_another_host(other: str) -> None:
    opened = session()
    opened.authorizations[UPSTREAM.base] = "Bearer t"
    wire = Wire(once(answer(302, location=other), answer(200)))
    wire.hold(obtain(opened, by_digest()))
    assert "Authorization" not in wire.sent[1].headers


@pytest.mark.parametrize("location", ["file:///etc/passwd", "https://u:p@x.example/", "gopher://x.example"])
def test_redirects_to_what_is_no_host_are_refused(location: str) -> None:
    wire = Wire(once(answer(302, location=location)))
    with pytest.raises(errors.RegistryRefused, match="redirected to"):
        wire.hold(obtain(session(), by_digest()))


def test_a_tag_is_not_taken_from_a_redirect_without_tls() -> None:
    with pytest.raises(errors.RegistryRefused, match="from TLS to http"):
        Wire(once(answer(302, location="http://x.example/"))).hold(obtain(session(), by_tag()))


def test_redirects_have_an_end() -> None:
    wire = Wire(lambda request: answer(302, location=request.url + "x"))
    with pytest.raises(errors.RegistryRefused, match="more than 10 redirects"):
        wire.hold(obtain(session(), by_digest()))
    assert len(wire.sent) == 10


def test_a_challenge_from_where_a_redirect_led_is_not_answered() -> None:
    wire = Wire(once(answer(302, location="https://cdn.example/x"), answer(401, www_authenticate="Basic realm=x")))
    with pytest.raises(errors.Unauthorized, match=r"redirected to cdn\.example, which answered 401"):
        wire.hold(obtain(session(credentials=Credentials(username="u", password="p")), by_digest()))
    assert len(wire.sent) == 2


# --- authentication -------------------------------------------------------------------------------------------------

CHALLENGE = 'Bearer realm="https://t.example/token",service="s",scope="repository:a/b:pull"'
LOGIN = Credentials(username="u", password="p")
BASIC = "Basic " + base64.b64encode(b"u:p").decode()


def registry(token_server: Script, good: str = "Bearer good") -> Script:
    def reply(request: Request) -> Response | Failure:
        if request.url.startswith("https://t.example"):
            return token_server(request)
        if request.headers.get("Authorization") == good:
            return answer(200, b"x")
        return answer(401, www_authenticate=CHALLENGE)

    return reply


def test_a_token_is_fetched_once_and_kept() -> None:
    wire = Wire(registry(lambda request: answer(200, b'{"token": "good"}')))
    opened = session()
    wire.hold(obtain(opened, by_tag()))
    wire.hold(obtain(opened, by_digest()))
    assert len(wire.sent) == 4
    assert opened.authorizations == {UPSTREAM.base: "Bearer good"}
    assert wire.sent[1].headers == {}


def test_an_expired_token_is_replaced() -> None:
    wire = Wire(registry(lambda request: answer(200, b'{"token": "good"}')))
    opened = session()
    opened.authorizations[UPSTREAM.base] = "Bearer old"
    wire.hold(obtain(opened, by_tag()))
    assert [request.headers.get("Authorization") for request in wire.sent] == ["Bearer old", None, "Bearer good"]


def test_basic_credentials_go_to_the_token_server() -> None:
    wire = Wire(registry(lambda request: answer(200, b'{"access_token": "good"}')))
    wire.hold(obtain(session(credentials=LOGIN), by_tag()))
    assert wire.sent[1].headers["Authorization"] == BASIC


def test_a_token_server_without_get_is_asked_by_post() -> None:
    def token_server(request: Request) -> Response:
        return answer(405) if request.method == "GET" else answer(200, b'{"access_token": "good"}')

    wire = Wire(registry(token_server))
    wire.hold(obtain(session(credentials=LOGIN), by_tag()))
    assert [request.method for request in wire.sent] == ["GET", "GET", "POST", "GET"]


def test_a_registry_token_is_used_as_it_is() -> None:
    wire = Wire(registry(lambda request: answer(500), good="Bearer mine"))
    wire.hold(obtain(session(credentials=Credentials(registry_token="mine")), by_tag()))
    assert len(wire.sent) == 2


@pytest.mark.parametrize(
    ("reply", "kind", "text"),
    [
        (answer(401), errors.Unauthorized, "token server t.example answered 401"),
        (answer(404), errors.Unauthorized, "token server t.example answered 404"),
        (answer(503), errors.RegistryUnavailable, "token server t.example answered 503"),
        (REFUSED, errors.RegistryUnavailable, "token server t.example: connection refused"),
        (answer(200, b"{}"), errors.RegistryRefused, "token server t.example: the token server's answer"),
        (answer(200, b'{"token": "bad"}'), errors.Unauthorized, "r.example: answered 401"),
    ],
)
def test_token_servers_that_do_not_help(reply: Response | Failure, kind: type[errors.PullError], text: str) -> None:
    with pytest.raises(kind, match=text):
        Wire(registry(lambda request: reply)).hold(obtain(session(credentials=LOGIN), by_tag()))


def test_basic_challenges() -> None:
    def reply(request: Request) -> Response:
        good = request.headers.get("Authorization") == BASIC
        return answer(200) if good else answer(401, www_authenticate='Basic realm="x"')

    wire = Wire(reply)
    wire.hold(obtain(session(credentials=LOGIN), by_tag()))
    assert len(wire.sent) == 2
    with pytest.raises(errors.Unauthorized, match="there are no credentials for it"):
        Wire(reply).hold(obtain(session(), by_tag()))
    with pytest.raises(errors.Unauthorized, match=r"answered 401$"):
        Wire(reply).hold(obtain(session(credentials=Credentials(username="u", password="wrong")), by_tag()))
    with pytest.raises(errors.Unauthorized, match="base64"):
        Wire(reply).hold(obtain(session(credentials=Credentials(auth="!")), by_tag()))


def test_upstream_credentials_do_not_go_to_a_mirror() -> None:
    wire = Wire(
        lambda request: (
            answer(401, www_authenticate="Basic realm=x") if "Authorization" not in request.headers else answer(200)
        )
    )
    assert wire.hold(obtain(session(MIRROR, UPSTREAM, credentials=LOGIN), by_tag())).host is UPSTREAM
    assert [request.url.split("/")[2] for request in wire.sent if "Authorization" in request.headers] == ["r.example"]
