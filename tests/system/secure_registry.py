"""A registry with TLS and Bearer tokens: Debian's docker-registry, and the token server that it trusts, on loopback.

The certificates are made by openssl for the run. The token server knows one user, by password (GET and POST) and by a
refresh token (POST), and signs tokens for what is asked.
"""

from __future__ import annotations

import base64
import json
import secrets
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from e2e import debian
from e2e.processes import Program, answers, free_port

USER, PASSWORD, REFRESH = "user", "correct horse", "refresh-me"
_SERVICE = "test-registry"


def _openssl(*arguments: str | Path, data: bytes = b"") -> bytes:
    done = subprocess.run(["openssl", *map(str, arguments)], input=data, capture_output=True, check=True)
    return done.stdout


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificates:
    """`ca` signed `certificate`, which is for 127.0.0.1."""

    ca: Path
    certificate: Path
    key: Path


def make_certificates(directory: Path) -> Certificates:
    ca, ca_key = directory / "ca.pem", directory / "ca.key"
    certificate, key, request = directory / "server.pem", directory / "server.key", directory / "server.csr"
    extensions = directory / "extensions"
    extensions.write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n")
    new = ("req", "-newkey", "rsa:2048", "-nodes", "-keyout")
    _openssl(*new, ca_key, "-x509", "-days", "2", "-subj", "/CN=test authority", "-out", ca)
    _openssl(*new, key, "-subj", "/CN=127.0.0.1", "-out", request)
    signing = ("-CA", ca, "-CAkey", ca_key, "-CAcreateserial", "-days", "2", "-extfile", extensions)
    _openssl("x509", "-req", "-in", request, *signing, "-out", certificate)
    return Certificates(ca=ca, certificate=certificate, key=key)


@dataclass(slots=True, kw_only=True)
class TokenServer:
    certificates: Certificates
    url: str = ""
    requests: list[str] = field(default_factory=list)

    def token(self, repository: str, actions: list[str] | None = None) -> str:
        """A JSON web token as distribution wants it (its "Token Authentication Implementation")."""
        der = _openssl("x509", "-in", self.certificates.certificate, "-outform", "DER")
        header = {"typ": "JWT", "alg": "RS256", "x5c": [base64.b64encode(der).decode()]}
        now = int(time.time())
        access = [{"type": "repository", "name": repository, "actions": actions or ["pull"]}] if repository else []
        claims = {
            "iss": "test",
            "sub": USER,
            "aud": _SERVICE,
            "exp": now + 300,
            "nbf": now - 10,
            "iat": now,
            "jti": secrets.token_hex(8),
            "access": access,
        }
        signed = ".".join(_encoded(json.dumps(part).encode()) for part in (header, claims))
        signature = _openssl("dgst", "-sha256", "-sign", self.certificates.key, data=signed.encode())
        return f"{signed}.{_encoded(signature)}"


def _encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


class _Handler(BaseHTTPRequestHandler):
    owner: TokenServer

    def do_GET(self) -> None:
        basic = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        self._reply(self.headers.get("Authorization") == basic, parse_qs(urlsplit(self.path).query), "token")

    def do_POST(self) -> None:
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        by_refresh = form.get("refresh_token") == [REFRESH]
        by_password = form.get("username") == [USER] and form.get("password") == [PASSWORD]
        self._reply(by_refresh or by_password, form, "access_token")

    def _reply(self, good: bool, asked: dict[str, list[str]], name: str) -> None:
        self.owner.requests.append(f"{self.command} {'good' if good else 'bad'}")
        scope = asked.get("scope", [""])[0].split(":")
        body = json.dumps({name: self.owner.token(scope[1] if len(scope) == 3 else "")} if good else {}).encode()
        self.send_response(200 if good else 401)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """The test counts requests itself."""


@contextmanager
def token_server(certificates: Certificates) -> Iterator[TokenServer]:
    owner = TokenServer(certificates=certificates)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"owner": owner}))
    server.daemon_threads = True
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.certificate, certificates.key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    owner.url = f"https://127.0.0.1:{server.server_address[1]}/token"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield owner
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def secure_registry(
    directory: Path, certificates: Certificates, storage: Path, tokens: TokenServer | None
) -> Iterator[str]:
    """Serves what `storage` holds, read-only; yields HOST:PORT."""
    port = free_port()
    address = f"127.0.0.1:{port}"
    tls = {"certificate": str(certificates.certificate), "key": str(certificates.key)}
    configuration: dict[str, object] = {
        "version": "0.1",
        "log": {"level": "warn"},
        "storage": {
            "filesystem": {"rootdirectory": str(storage)},
            "maintenance": {"readonly": {"enabled": True}, "uploadpurging": {"enabled": False}},
        },
        "http": {"addr": address, "tls": tls},
    }
    if tokens is not None:
        token = {
            "realm": tokens.url,
            "service": _SERVICE,
            "issuer": "test",
            "rootcertbundle": str(certificates.ca),
        }
        configuration["auth"] = {"token": token}
    name = f"secure-{port}"
    path = directory / f"{name}.yml"
    path.write_text(json.dumps(configuration))
    program = debian.program("docker-registry", "usr/bin/docker-registry")
    process = Program(
        name, [str(program), "serve", str(path)], directory / f"{name}.log", env={"OTEL_TRACES_EXPORTER": "none"}
    )
    try:
        process.wait_until(lambda: answers("127.0.0.1", port))
        yield address
    finally:
        process.stop()
