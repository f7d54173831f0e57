"""The distribution protocol without a network: a script answers the requests, and they are looked at."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from imagesvc import errors
from imagesvc.digest import Digest, sha256_of
from imagesvc.manifest import Descriptor
from imagesvc.platforms import Platform
from imagesvc.reference import parse_reference
from imagesvc.registry.client import Client
from imagesvc.registry.credentials import Credentials, Keyring
from imagesvc.registry.exchange import Resource, Session, obtain
from imagesvc.registry.hosts import Capability, Host
from imagesvc.registry.messages import (
    NO_TLS,
    Conversation,
    Failure,
    Pause,
    Reply,
    Request,
    Response,
    Result,
    Send,
    Tls,
    Trouble,
    Want,
)
from imagesvc.registry.resolve import current_digest, resolve
from imagesvc.registry.transport import Interrupted, Transport

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


# --- resolving ------------------------------------------------------------------------------------------------------

AMD64 = Platform(os="linux", architecture="amd64")
OCI = "application/vnd.oci.image."


def reference_to(content: bytes, kind: str, **fields: object) -> dict[str, object]:
    return {"mediaType": kind, "digest": sha256_of(content), "size": len(content), **fields}


CONFIG = json.dumps(
    {"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": ["sha256:" + "d" * 64]}}
).encode()
LAYER = {"mediaType": OCI + "layer.v1.tar+gzip", "digest": BLOB, "size": 10}
MANIFEST = json.dumps(
    {"schemaVersion": 2, "config": reference_to(CONFIG, OCI + "config.v1+json"), "layers": [LAYER]}
).encode()
INDEX = json.dumps(
    {
        "schemaVersion": 2,
        "manifests": [
            reference_to(b"other", OCI + "manifest.v1+json", platform={"os": "linux", "architecture": "s390x"}),
            reference_to(MANIFEST, OCI + "manifest.v1+json", platform={"os": "linux", "architecture": "amd64"}),
        ],
    }
).encode()


def store(tag: bytes, *others: bytes, kind: str = OCI + "index.v1+json") -> Script:
    known = {sha256_of(content): content for content in (tag, *others)}

    def reply(request: Request) -> Response:
        target = request.url.rpartition("/")[2].partition("?")[0]
        content = tag if target == "1" else known.get(Digest(target))
        if content is None:
            return answer(404)
        return answer(200, content, content_type=kind if target == "1" else OCI + "manifest.v1+json")

    return reply


def test_an_index_leads_to_the_image_of_this_platform() -> None:
    wire = Wire(store(INDEX, MANIFEST, CONFIG))
    found = wire.hold(resolve(session(), AMD64))
    assert found.digest == sha256_of(INDEX)
    assert found.manifest_digest == sha256_of(MANIFEST)
    assert found.config == CONFIG
    assert found.config_digest == sha256_of(CONFIG)
    assert found.diff_ids == ("sha256:" + "d" * 64,)
    assert [layer.digest for layer in found.manifest.layers] == [BLOB]
    assert [url.split("/")[-2] for url in wire.urls] == ["manifests", "manifests", "blobs"]


def test_a_manifest_without_an_index() -> None:
    found = Wire(store(MANIFEST, CONFIG, kind=OCI + "manifest.v1+json")).hold(resolve(session(), AMD64))
    assert found.digest == found.manifest_digest == sha256_of(MANIFEST)


def test_nested_indexes_have_an_end() -> None:
    inner = INDEX
    outers = []
    for _ in range(3):
        outers.append(inner)
        entry = reference_to(inner, OCI + "index.v1+json", platform={"os": "linux", "architecture": "amd64"})
        inner = json.dumps({"schemaVersion": 2, "mediaType": OCI + "index.v1+json", "manifests": [entry]}).encode()
    script = store(inner, *outers, MANIFEST, CONFIG)

    def untyped(request: Request) -> Response | Failure:
        reply = script(request)
        assert isinstance(reply, Response)
        return answer(reply.status, reply.body)

    with pytest.raises(errors.CorruptContent, match="nested more than 4 deep"):
        Wire(untyped).hold(resolve(session(), AMD64))


def changed(content: bytes, **fields: object) -> bytes:
    return json.dumps({**json.loads(content), **fields}).encode()


@pytest.mark.parametrize(
    ("script", "kind", "text"),
    [
        (once(answer(200, b"{")), errors.CorruptContent, "is not JSON"),
        (once(answer(200, MANIFEST, docker_content_digest=BLOB)), errors.CorruptContent, f"not {BLOB}"),
        (once(answer(200, MANIFEST, docker_content_digest="md5:1")), errors.CorruptContent, "md5"),
        (once(answer(200, INDEX), answer(200, MANIFEST + b" ")), errors.CorruptContent, "instead of"),
        (once(answer(200, INDEX), answer(200, b"x" * len(MANIFEST))), errors.CorruptContent, "content has digest"),
        (once(answer(200, INDEX), answer(404)), errors.ImageNotFound, "404"),
        (once(answer(200, MANIFEST), answer(200, b"x" * len(CONFIG))), errors.CorruptContent, "content has digest"),
        (
            once(answer(200, changed(MANIFEST, layers=[])), answer(200, CONFIG)),
            errors.CorruptContent,
            "names 1 layers, the manifest 0",
        ),
        (
            once(answer(200, changed(MANIFEST, layers=[{**LAYER, "mediaType": "x/y"}]))),
            errors.UnsupportedImage,
            "unknown type 'x/y'",
        ),
        (
            once(
                answer(200, changed(MANIFEST, config=reference_to(CONFIG, "application/vnd.cncf.helm.config.v1+json")))
            ),
            errors.UnsupportedImage,
            "not an image to run",
        ),
        (
            once(
                answer(200, changed(MANIFEST, config={**reference_to(CONFIG, OCI + "config.v1+json"), "size": 1 << 30}))
            ),
            errors.UnsupportedImage,
            "its config has 1073741824 bytes",
        ),
        (once(answer(200, changed(INDEX, manifests=[]))), errors.UnsupportedImage, "no image for linux/amd64"),
    ],
)
def test_images_that_cannot_be_pulled(script: Script, kind: type[errors.PullError], text: str) -> None:
    with pytest.raises(kind, match=text):
        Wire(script).hold(resolve(session(), AMD64))


def test_an_image_for_another_system() -> None:
    windows = changed(CONFIG, os="windows")
    manifest = changed(MANIFEST, config=reference_to(windows, OCI + "config.v1+json"))
    with pytest.raises(errors.UnsupportedImage, match="for windows"):
        Wire(once(answer(200, manifest), answer(200, windows))).hold(resolve(session(), AMD64))


def test_the_current_digest_by_head() -> None:
    wire = Wire(once(answer(200, docker_content_digest=BLOB)))
    assert wire.hold(current_digest(session())) == BLOB
    assert wire.sent[0].method == "HEAD"
    assert Wire(once(answer(200))).hold(current_digest(session())) is None
    assert Wire(once(answer(405))).hold(current_digest(session())) is None
    with pytest.raises(errors.Unauthorized):
        Wire(once(answer(401))).hold(current_digest(session()))


# --- blobs through broken connections -------------------------------------------------------------------------------

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
