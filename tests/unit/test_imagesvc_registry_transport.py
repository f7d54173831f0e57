"""http.client under the transport, against servers on loopback that behave and misbehave in every way."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from imagesvc.errors import RegistryConfigError
from imagesvc.registry.messages import Failure, Request, Response, Send, Tls, Trouble, Want
from imagesvc.registry.transport import Interrupted, Transport

BODY = bytes(range(256)) * 2000


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, answer: Callable[[BaseHTTPRequestHandler], None]) -> None:
        self.connections = 0
        self.paths: list[str] = []
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                owner.connections += 1
                super().setup()

            def do_GET(self) -> None:
                owner.paths.append(self.path)
                answer(self)

            do_HEAD = do_POST = do_CONNECT = do_GET

            def log_message(self, format: str, *args: object) -> None: ...

        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/x?y=1"


@contextmanager
def serving(answer: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[Server]:
    server = Server(answer)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def transport(monkeypatch: pytest.MonkeyPatch) -> Iterator[Transport]:
    for name in ("http_proxy", "https_proxy", "no_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    made = Transport(progress_timeout=0.3)
    yield made
    made.close()


def respond(handler: BaseHTTPRequestHandler, status: int, body: bytes, *headers: tuple[str, str]) -> None:
    handler.send_response(status)
    for name, value in headers or (("Content-Length", str(len(body))),):
        handler.send_header(name, value)
    handler.end_headers()
    if handler.command != "HEAD":
        handler.wfile.write(body)


def get(url: str, want: Want = Want.WHOLE, method: str = "GET", limit: int = 1 << 20) -> Send:
    return Send(request=Request(method=method, url=url, headers={"X-Test": "1"}), want=want, limit=limit)


def good(reply: Response | Failure) -> Response:
    assert isinstance(reply, Response), reply
    return reply


def bad(reply: Response | Failure) -> Failure:
    assert isinstance(reply, Failure), reply
    return reply


def test_connections_are_kept_while_answers_are_read(transport: Transport) -> None:
    with serving(lambda handler: respond(handler, 200, BODY)) as server:
        for _ in range(3):
            assert good(transport.send(get(server.url))).body == BODY
        assert good(transport.send(get(server.url, method="HEAD"))).body == b""
        assert good(transport.send(get(server.url, Want.STREAM))).body == b""
        assert b"".join(transport.stream()) == BODY
        assert good(transport.send(get(server.url))).status == 200
        assert server.connections == 1
        transport.send(get(server.url, Want.STREAM))  # not read: the connection is of no more use
        transport.send(get(server.url))
        assert server.connections == 2
        assert set(server.paths) == {"/x?y=1"}
        transport.close()


def test_a_kept_connection_that_the_server_closed_is_replaced(transport: Transport) -> None:
    def once(handler: BaseHTTPRequestHandler) -> None:
        respond(handler, 200, b"x")
        handler.close_connection = True

    with serving(once) as server:
        for _ in range(3):
            assert good(transport.send(get(server.url))).body == b"x"
        assert server.connections == 3


def test_headers_and_challenges(transport: Transport) -> None:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        assert handler.headers["X-Test"] == "1"
        assert handler.headers["Accept-Encoding"] == "identity"
        headers = [("WWW-Authenticate", "Basic"), ("WWW-Authenticate", "Bearer realm=x"), ("Content-Length", "0")]
        respond(handler, 401, b"", *headers, ("X-Many", "a"), ("X-Many", "b"))

    with serving(answer) as server:
        reply = good(transport.send(get(server.url)))
        assert reply.challenges == ("Basic", "Bearer realm=x")
        assert reply.headers["x-many"] == "a, b"
        transport.close()


def test_chunked_bodies_and_bodies_until_the_end(transport: Transport) -> None:
    def chunked(handler: BaseHTTPRequestHandler) -> None:
        body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)
        respond(handler, 200, body, ("Transfer-Encoding", "chunked"))

    def until_the_end(handler: BaseHTTPRequestHandler) -> None:
        respond(handler, 200, BODY, ("Connection", "close"))
        handler.close_connection = True

    for answer in (chunked, until_the_end):
        with serving(answer) as server:
            assert good(transport.send(get(server.url))).body == BODY
            transport.send(get(server.url, Want.STREAM))
            assert b"".join(transport.stream()) == BODY
            transport.close()


def test_answers_have_a_limit(transport: Transport) -> None:
    with serving(lambda handler: respond(handler, 200, BODY)) as server:
        assert bad(transport.send(get(server.url, limit=len(BODY) - 1))).trouble is Trouble.TOO_LARGE
        assert good(transport.send(get(server.url, limit=len(BODY)))).body == BODY
        transport.close()
    with serving(lambda handler: respond(handler, 500, BODY)) as server:
        assert good(transport.send(get(server.url, limit=10))).body == BODY[:10]
        transport.close()


def test_bodies_that_break_off(transport: Transport) -> None:
    def short(handler: BaseHTTPRequestHandler) -> None:
        respond(handler, 200, BODY[:1000], ("Content-Length", str(len(BODY))))
        handler.close_connection = True

    with serving(short) as server:
        assert bad(transport.send(get(server.url))).trouble is Trouble.BROKEN
        transport.send(get(server.url, Want.STREAM))
        assert b"".join(transport.stream()) == BODY[:1000]  # whoever knows the size notices
        assert bad(transport.send(get(server.url))).text == "the connection broke off"


def test_answers_that_do_not_come(transport: Transport) -> None:
    ended = threading.Event()

    def hang(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "100")
        handler.end_headers()
        handler.wfile.write(b"x")
        ended.wait(10)
        handler.close_connection = True

    with serving(hang) as server:
        assert bad(transport.send(get(server.url))).text == "no answer for 0.3 s"
        transport.send(get(server.url, Want.STREAM))
        stream = transport.stream()
        assert next(stream) == b"x"
        with pytest.raises(Interrupted, match=r"no answer for 0\.3 s") as caught:
            next(stream)
        assert caught.value.failure.trouble is Trouble.TIMEOUT
        ended.set()


@pytest.mark.parametrize(
    ("answer", "trouble"),
    [
        (b"", Trouble.BROKEN),
        (b"SSH-2.0-x\r\n", Trouble.BROKEN),
        (b"HTTP/1.1 abc\r\n\r\n", Trouble.BROKEN),
        (b"HTTP/1.1 200 OK\r\n" + b"x" * 70000 + b"\r\n\r\n", Trouble.BROKEN),
        (b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 200 + b"\r\n", Trouble.BROKEN),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", Trouble.BROKEN),
    ],
)
def test_what_is_no_http(transport: Transport, answer: bytes, trouble: Trouble) -> None:
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(answer)

    thread = threading.Thread(target=serve)
    thread.start()
    with listener:
        assert bad(transport.send(get(f"http://127.0.0.1:{listener.getsockname()[1]}/"))).trouble is trouble
        thread.join()


def test_hosts_that_cannot_be_reached(transport: Transport) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert bad(transport.send(get(f"http://127.0.0.1:{port}/"))) == Failure(
        trouble=Trouble.UNREACHABLE, text="connection refused"
    )
    assert bad(transport.send(get("http://name.invalid/"))).text.startswith("its name cannot be resolved")


def test_a_plain_server_asked_with_tls(transport: Transport) -> None:
    with serving(lambda handler: respond(handler, 200, b"")) as server:
        failure = bad(transport.send(get(server.url.replace("http:", "https:"))))
        assert failure.trouble in (Trouble.TLS, Trouble.BROKEN)


def test_files_of_certificates_that_cannot_be_used(transport: Transport, tmp_path: Path) -> None:
    (tmp_path / "empty.pem").touch()
    for tls, problem in (
        (Tls(ca=(str(tmp_path / "missing.pem"),)), "No such file"),
        (Tls(ca=(str(tmp_path / "empty.pem"),)), "no usable certificate"),
        (Tls(client=((str(tmp_path / "empty.pem"), ""),)), "no usable certificate"),
    ):
        with pytest.raises(RegistryConfigError, match=problem) as caught:
            transport.send(Send(request=Request(method="GET", url="https://127.0.0.1:1/", tls=tls)))
        assert caught.value.path.endswith(".pem")


def test_headers_that_cannot_be_sent_are_not_shown(transport: Transport) -> None:
    with serving(lambda handler: respond(handler, 200, b"")) as server:
        request = Request(method="GET", url=server.url, headers={"Authorization": "s3cret\n"})
        failure = bad(transport.send(Send(request=request)))
        assert "s3cret" not in failure.text


def test_proxies_of_the_environment(transport: Transport, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, str, str | None]] = []

    def answer(handler: BaseHTTPRequestHandler) -> None:
        seen.append((handler.command, handler.path, handler.headers.get("Proxy-Authorization")))
        respond(handler, 503 if handler.command == "CONNECT" else 200, b"")

    with serving(answer) as server:
        monkeypatch.setenv("http_proxy", f"http://u:p%40@127.0.0.1:{server.server_address[1]}")
        monkeypatch.setenv("https_proxy", f"127.0.0.1:{server.server_address[1]}")
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        assert good(transport.send(get("http://registry.invalid/v2/?a=b"))).status == 200
        assert bad(transport.send(get("https://registry.invalid/v2/"))).trouble is Trouble.UNREACHABLE
        assert good(transport.send(get(server.url))).status == 200
        transport.close()
    assert seen == [
        ("GET", "http://registry.invalid/v2/?a=b", "Basic dTpwQA=="),
        ("CONNECT", "registry.invalid:443", None),
        ("GET", "/x?y=1", None),
    ]
