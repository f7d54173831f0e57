from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagesvc.errors import RegistryConfigError
from imagesvc.registry.challenge import Challenge, parse_challenges
from imagesvc.registry.credentials import Credentials, DockerConfig, Keyring, Login, login_of, server_host
from imagesvc.registry.messages import NO_TLS, Tls
from imagesvc.registry.token import parse_token, token_requests


def auth(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


# --- the CRI's AuthConfig -------------------------------------------------------------------------------------------


def test_auth_is_base64_of_name_and_password() -> None:
    login = login_of(Credentials(auth=auth("me:pass:word\0\0")))
    assert (login.username, login.password) == ("me", "pass:word")
    assert login.basic == "Basic " + auth("me:pass:word")
    assert login_of(Credentials(username="u", password="p", auth="ignored")).username == "u"


@pytest.mark.parametrize("text", ["!", auth("no colon"), base64.b64encode(b"\xff:\xff").decode()])
def test_unreadable_auth_is_refused_without_showing_it(text: str) -> None:
    with pytest.raises(ValueError, match="base64 of USERNAME:PASSWORD") as caught:
        login_of(Credentials(auth=text))
    assert text not in str(caught.value) or text == "!"


@pytest.mark.parametrize("token", ["a\nb", "a\tb", "ä"])
def test_tokens_that_no_header_can_hold(token: str) -> None:
    with pytest.raises(ValueError, match="no header can hold") as caught:
        login_of(Credentials(registry_token=token))
    assert token not in str(caught.value)


def test_secrets_hide_themselves() -> None:
    credentials = Credentials(
        username="me",
        password="one-s3cret",
        auth="two-s3cret",
        identity_token="three-s3cret",
        registry_token="4-s3cret",
    )
    assert "s3cret" not in repr(credentials)
    assert "s3cret" not in repr(Login(password="s3cret", identity_token="s3cret", registry_token="s3cret"))


@pytest.mark.parametrize(
    ("address", "host"),
    [
        ("https://index.docker.io/v1/", "registry-1.docker.io"),
        ("docker.io", "registry-1.docker.io"),
        ("R.example:5000/v2/", "r.example:5000"),
        ("http://r.example", "r.example"),
    ],
)
def test_hosts_of_server_addresses(address: str, host: str) -> None:
    assert server_host(address) == host


def test_credentials_go_to_the_host_they_name_and_else_only_to_the_registry_itself() -> None:
    unnamed = Keyring("r.example", "a/b", Credentials(username="u", password="p"))
    assert unnamed.login("r.example") is not None
    assert unnamed.login("mirror.example") is None
    named = Keyring(
        "r.example", "a/b", Credentials(username="u", password="p", server_address="https://mirror.example")
    )
    assert named.login("r.example") is None
    assert named.login("mirror.example") is not None
    docker = Keyring("docker.io", "a/b", Credentials(username="u", server_address="https://index.docker.io/v1/"))
    assert docker.login("registry-1.docker.io") is not None
    assert Keyring("r.example", "a", Credentials()).login("r.example") is None


# --- Docker's files -------------------------------------------------------------------------------------------------


def config(tmp_path: Path, **auths: object) -> DockerConfig:
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"auths": auths, "credsStore": "ignored"}))
    read = DockerConfig.read(path)
    assert read is not None
    return read


def test_the_longest_path_wins(tmp_path: Path) -> None:
    file = config(
        tmp_path,
        **{
            "r.example": {"auth": auth("host:1")},
            "r.example/team": {"auth": auth("team:1")},
            "https://r.example/team/app": {"username": "app", "password": "1"},
            "*.wild.example": {"identitytoken": "t"},
            "https://index.docker.io/v1/": {"registrytoken": "r"},
            "empty.example": {},
        },
    )

    def user(domain: str, path: str, host: str = "") -> str | None:
        login = Keyring(domain, path, None, [file]).login(host or domain)
        return None if login is None else login.username or login.identity_token or login.registry_token

    assert user("r.example", "other") == "host"
    assert user("r.example", "team") == "team"
    assert user("r.example", "team/x") == "team"
    assert user("r.example", "teams/x") == "host"
    assert user("r.example", "team/app/x") == "app"
    assert user("a.wild.example", "x") == "t"
    assert user("a.b.wild.example", "x") is None
    assert user("docker.io", "library/x", "registry-1.docker.io") == "r"
    assert user("empty.example", "x") is None
    assert user("elsewhere.example", "x") is None
    assert user("other.example", "team/app", "r.example") == "host"  # a mirror: its paths are not ours


def test_given_credentials_come_before_files(tmp_path: Path) -> None:
    file = config(tmp_path, **{"r.example": {"auth": auth("file:1")}})
    login = Keyring("r.example", "a", Credentials(username="given"), [file]).login("r.example")
    assert login is not None
    assert login.username == "given"


def test_files_that_are_missing_or_broken(tmp_path: Path) -> None:
    assert DockerConfig.read(tmp_path / "missing" / "config.json") is None
    path = tmp_path / "config.json"
    path.write_text("{")
    with pytest.raises(RegistryConfigError, match=r"config\.json: is not JSON"):
        DockerConfig.read(path)
    with pytest.raises(RegistryConfigError, match=r"config.json: auths.r.example: auth is not base64") as caught:
        config(tmp_path, **{"r.example": {"auth": "s3cret"}}).login("r.example", "")
    assert "s3cret" not in str(caught.value)


# --- challenges and tokens ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "challenges"),
    [
        ('Basic realm="a, b"', [("basic", {"realm": "a, b"})]),
        ("Basic", [("basic", {})]),
        (
            'Bearer realm="https://t/token",service="r",scope="repository:a:pull,push"',
            [("bearer", {"realm": "https://t/token", "service": "r", "scope": "repository:a:pull,push"})],
        ),
        ('BEARER Realm="x" , Error=invalid_token', [("bearer", {"realm": "x", "error": "invalid_token"})]),
        (
            'Bearer realm="x",service=y, Basic realm="z"',
            [("bearer", {"realm": "x", "service": "y"}), ("basic", {"realm": "z"})],
        ),
        (r'Bearer realm="a\"b\\c"', [("bearer", {"realm": 'a"b\\c'})]),
        ("Negotiate, Basic realm=x", [("negotiate", {}), ("basic", {"realm": "x"})]),
        ("", []),
        ('"', []),
    ],
)
def test_challenges_are_taken_apart(header: str, challenges: list[tuple[str, dict[str, str]]]) -> None:
    assert [(each.scheme, dict(each.parameters)) for each in parse_challenges([header])] == challenges


@given(st.text(alphabet='aB=", \\\t0', max_size=60))
def test_any_header_is_read_without_failing(header: str) -> None:
    parse_challenges([header])


BEARER = Challenge(scheme="bearer", parameters={"realm": "https://t.example/token?x=1", "service": "reg"})


def test_a_token_without_a_login_is_asked_for_by_get() -> None:
    (request,) = token_requests(BEARER, None, "repository:a/b:pull", NO_TLS, secure=True)
    assert request.method == "GET"
    assert request.url == "https://t.example/token?x=1&service=reg&scope=repository%3Aa%2Fb%3Apull"
    assert request.headers == {}


def test_a_name_and_password_go_by_get_then_by_post() -> None:
    get, post = token_requests(BEARER, Login(username="u", password="p"), "s", Tls(client=(("c", "k"),)), secure=True)
    assert (get.method, post.method) == ("GET", "POST")
    assert get.headers["Authorization"] == "Basic " + auth("u:p")
    assert "account=u" in get.url
    assert b"grant_type=password&username=u&password=p" in post.body
    assert get.tls.client == ()


def test_an_identity_token_goes_by_post() -> None:
    (post,) = token_requests(BEARER, Login(username="<token>", identity_token="i"), "s", NO_TLS, secure=True)
    assert b"grant_type=refresh_token&refresh_token=i" in post.body
    assert post.url == "https://t.example/token?x=1"


def test_secrets_do_not_go_to_token_servers_without_tls() -> None:
    plain = Challenge(scheme="bearer", parameters={"realm": "http://t.example/token"})
    with pytest.raises(ValueError, match="does not use TLS"):
        token_requests(plain, Login(username="u", password="p"), "s", NO_TLS, secure=True)
    assert token_requests(plain, None, "s", NO_TLS, secure=True)
    assert token_requests(plain, Login(username="u"), "s", NO_TLS, secure=False)
    with pytest.raises(ValueError, match="not a URL"):
        token_requests(Challenge(scheme="bearer", parameters={"realm": "file:///x"}), None, "s", NO_TLS, secure=True)


def test_token_answers() -> None:
    assert parse_token(b'{"token": "t", "access_token": "a"}') == "t"
    assert parse_token(b'{"access_token": "a"}') == "a"
    for body in (b"", b"{}", b'{"token": 1}', b'{"token": "a b"}', b'{"token": "a\\nb"}', '{"token": "ü"}'.encode()):
        with pytest.raises(ValueError, match="token server's answer"):
            parse_token(body)
