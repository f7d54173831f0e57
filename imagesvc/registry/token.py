"""Bearer tokens: what is asked of a token server, and what it answers (distribution's token and oauth2 pages). Pure.

Without a login, and with a name and password, the token is asked for by GET; an identity token, which is a refresh
token, by POST. A server that knows no GET is asked again by POST.
"""

from __future__ import annotations

from urllib.parse import urlencode, urlsplit

from imagesvc.document import DocumentError, parse_document
from imagesvc.registry.challenge import Challenge
from imagesvc.registry.credentials import Login
from imagesvc.registry.messages import Request, Tls

_CLIENT = "coracle"


def token_requests(
    challenge: Challenge, login: Login | None, scope: str, tls: Tls, *, secure: bool
) -> tuple[Request, ...]:
    """The requests to try, in order. `secure` says that the registry itself is reached by TLS.

    Raises ValueError where the challenge cannot be answered, or not without giving a secret away.
    """
    realm = challenge.parameters.get("realm", "")
    parts = urlsplit(realm)
    if parts.scheme not in ("https", "http") or not parts.hostname:
        raise ValueError(f"the token server {realm[:200]!r} is not a URL")
    if parts.scheme == "http" and secure and login is not None:
        raise ValueError(f"the token server {parts.netloc} does not use TLS, so it is not given the credentials")
    asked = {"service": challenge.parameters.get("service", ""), "scope": challenge.parameters.get("scope") or scope}
    asked = {key: value for key, value in asked.items() if value}
    tls = Tls(ca=tls.ca, skip_verify=tls.skip_verify)  # the client certificates are for the registry
    if login is None:
        return (_get(realm, asked, "", tls),)
    if login.identity_token:
        form = {"grant_type": "refresh_token", "refresh_token": login.identity_token, "client_id": _CLIENT}
        return (_post(realm, {**asked, **form}, tls),)
    form = {"grant_type": "password", "username": login.username, "password": login.password, "client_id": _CLIENT}
    account = {"account": login.username} if login.username else {}
    return _get(realm, {**account, **asked}, login.basic, tls), _post(realm, {**asked, **form}, tls)


def parse_token(body: bytes) -> str:
    """Raises ValueError."""
    try:
        fields = parse_document(body)
        token = fields.text("token", "") or fields.text("access_token", "")
    except DocumentError as error:
        raise ValueError(f"the token server's answer: {error}") from None
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise ValueError("the token server's answer holds no token")
    return token


def _get(realm: str, asked: dict[str, str], authorization: str, tls: Tls) -> Request:
    separator = "&" if urlsplit(realm).query else "?"
    url = f"{realm}{separator}{urlencode(asked)}" if asked else realm
    return Request(method="GET", url=url, headers={"Authorization": authorization} if authorization else {}, tls=tls)


def _post(realm: str, form: dict[str, str], tls: Tls) -> Request:
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    return Request(method="POST", url=realm, headers=headers, body=urlencode(form).encode(), tls=tls)
