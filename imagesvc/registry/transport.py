"""Requests carried out by http.client and ssl: the cheapest way that Python has (0.84 CPU seconds a GB over TLS).

One instance serves one thread. Connections are kept while answers are read to their end. Every wait has a limit: the
dial timeout until the connection stands, then the progress timeout between any two pieces.
"""

from __future__ import annotations

import http.client
import os
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from urllib.parse import unquote, urlsplit

from imagesvc.errors import RegistryConfigError
from imagesvc.registry.messages import Failure, Request, Response, Send, Tls, Trouble, Want
from imagesvc.registry.trust import host_context

_PIECE: Final = 256 << 10
_AGENT: Final = "coracle"
_Key = tuple[str, str, int, Tls]


class Interrupted(Exception):
    """A body ended before its end."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.text)
        self.failure = failure


class Transport:
    def __init__(self, *, progress_timeout: float) -> None:
        self._progress_timeout = progress_timeout
        self._idle: dict[_Key, http.client.HTTPConnection] = {}
        self._contexts: dict[Tls, ssl.SSLContext] = {}
        self._open: tuple[_Key, http.client.HTTPConnection, http.client.HTTPResponse] | None = None

    def send(self, step: Send) -> Response | Failure:
        """With Want.STREAM, a 200 or 206 leaves the body to be read by `stream`, before anything else is sent."""
        self._drop_stream()
        request = step.request
        try:
            key, connection, response = self._exchange(request)
        except Exception as error:
            return _failure(error, self._progress_timeout, request)
        headers: dict[str, str] = {}
        for name, value in response.getheaders():
            name = name.lower()
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        challenges = tuple(response.headers.get_all("WWW-Authenticate") or ())
        good = response.status in (200, 206)
        if good and step.want is Want.STREAM:
            self._open = key, connection, response
            return Response(status=response.status, headers=headers, challenges=challenges)
        try:
            if request.method == "HEAD":
                response.close()
                body = b""
            else:
                body = self._whole(response, step.limit)
        except Exception as error:
            connection.close()
            return _failure(error, self._progress_timeout, request)
        if response.isclosed():
            self._idle[key] = connection
        else:
            connection.close()
            if good:
                return Failure(trouble=Trouble.TOO_LARGE, text=f"the answer has more than {step.limit} bytes")
        return Response(status=response.status, headers=headers, challenges=challenges, body=body)

    def stream(self) -> Iterator[bytes]:
        """The body of the last answer, as it comes. Raises Interrupted."""
        assert self._open is not None
        key, connection, response = self._open
        complete = False
        try:
            while piece := response.read1(_PIECE):
                yield piece
            complete = not response.length  # 0, or None where the length was not said
            response.close()
        except (OSError, http.client.HTTPException) as error:
            failure = _failure(error, self._progress_timeout, None)
            raise Interrupted(failure) from None
        finally:
            self._open = None
            if complete and not response.will_close:
                self._idle[key] = connection
            else:
                connection.close()

    def close(self) -> None:
        self._drop_stream()
        for connection in self._idle.values():
            connection.close()
        self._idle.clear()

    def _drop_stream(self) -> None:
        if self._open is not None:
            self._open[1].close()
            self._open = None

    def _exchange(self, request: Request) -> tuple[_Key, http.client.HTTPConnection, http.client.HTTPResponse]:
        parts = urlsplit(request.url)
        host, secure = parts.hostname or "", parts.scheme == "https"
        key = parts.scheme, host, parts.port or (443 if secure else 80), request.tls
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        headers = {"User-Agent": _AGENT, **request.headers}
        kept = self._idle.pop(key, None)
        if kept is not None:
            try:
                return key, kept, self._ask(kept, request, target, headers)
            except (http.client.HTTPException, OSError) as error:
                kept.close()
                if isinstance(error, TimeoutError):
                    raise
                # The server had closed the idle connection: a new one.
        connection, via = self._connection(key, request)
        if via:
            target, headers = f"{parts.scheme}://{parts.netloc}{target}", {**headers, **via}
        try:
            connection.connect()
            connection.sock.settimeout(self._progress_timeout)
            return key, connection, self._ask(connection, request, target, headers)
        except BaseException:
            connection.close()
            raise

    @staticmethod
    def _ask(
        connection: http.client.HTTPConnection, request: Request, target: str, headers: dict[str, str]
    ) -> http.client.HTTPResponse:
        connection.request(request.method, target, request.body or None, headers)
        return connection.getresponse()

    def _connection(self, key: _Key, request: Request) -> tuple[http.client.HTTPConnection, dict[str, str]]:
        """An unconnected one, and the headers that a proxy asked for the whole URL wants ({} without one)."""
        scheme, host, port, tls = key
        proxy = _proxy(scheme, host)
        timeout = request.dial_timeout
        if scheme == "http":
            if proxy is None:
                return http.client.HTTPConnection(host, port, timeout=timeout), {}
            connection = http.client.HTTPConnection(proxy[0], proxy[1], timeout=timeout)
            return connection, {"Proxy-Connection": "keep-alive", **proxy[2]}
        context = self._context(tls)
        if proxy is None:
            return http.client.HTTPSConnection(host, port, timeout=timeout, context=context), {}
        tunnelled = http.client.HTTPSConnection(proxy[0], proxy[1], timeout=timeout, context=context)
        tunnelled.set_tunnel(host, port, headers=proxy[2])
        return tunnelled, {}

    def _context(self, tls: Tls) -> ssl.SSLContext:
        context = self._contexts.get(tls)
        if context is None:
            context = host_context()
            for path in tls.ca:
                with _reading(path):
                    context.load_verify_locations(path)
            for certificate, key in tls.client:
                with _reading(certificate):
                    context.load_cert_chain(certificate, key or None)
            if tls.skip_verify:
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
            self._contexts[tls] = context
        return context

    @staticmethod
    def _whole(response: http.client.HTTPResponse, limit: int) -> bytes:
        """At most `limit` bytes; the response is not closed where there are more."""
        body = b""
        while len(body) <= limit:
            piece = response.read1(min(_PIECE, limit + 1 - len(body)))
            if not piece:
                if not response.isclosed():
                    response.close()
                if (length := response.headers.get("Content-Length", "")).isdigit() and len(body) < int(length):
                    raise http.client.IncompleteRead(body, int(length) - len(body))
                return body
            body += piece
        return body[:limit]


@contextmanager
def _reading(path: str) -> Iterator[None]:
    """A file of certificates; an operator's mistake is not the registry's. Raises RegistryConfigError."""
    try:
        yield
    except ssl.SSLError as error:
        raise RegistryConfigError(path, f"is no usable certificate: {error.reason or error}") from None
    except OSError as error:
        raise RegistryConfigError(path, error.strerror or "cannot be read") from None


def _proxy(scheme: str, host: str) -> tuple[str, int, dict[str, str]] | None:
    """(host, port, headers) from the environment, as every other client reads it."""
    if not any(name.lower().endswith("_proxy") for name in os.environ):
        return None
    import urllib.request

    url = urllib.request.getproxies_environment().get(scheme)
    if not url or urllib.request.proxy_bypass(host):
        return None
    parts = urlsplit(url if "://" in url else f"http://{url}")
    headers = {}
    if parts.username is not None:
        import base64

        login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers["Proxy-Authorization"] = "Basic " + base64.b64encode(login.encode()).decode()
    return parts.hostname or "", parts.port or 8080, headers


def _failure(error: Exception, progress_timeout: float, request: Request | None) -> Failure:
    if isinstance(error, ssl.SSLCertVerificationError):
        return Failure(trouble=Trouble.UNTRUSTED, text=f"its certificate is not trusted: {error.verify_message}")
    if isinstance(error, ssl.SSLError):
        return Failure(trouble=Trouble.TLS, text=f"TLS failed: {error.reason or error}")
    if isinstance(error, TimeoutError):
        # ETIMEDOUT from the kernel has a number, the expiry of our own limit has none.
        dialling = request is not None and error.errno is not None
        return Failure(
            trouble=Trouble.TIMEOUT,
            text="the connection timed out" if dialling else f"no answer for {progress_timeout:g} s",
        )
    if isinstance(error, socket.gaierror):
        trouble = Trouble.UNREACHABLE if error.errno == socket.EAI_AGAIN else Trouble.UNKNOWN
        return Failure(trouble=trouble, text=f"its name cannot be resolved: {error.strerror}")
    if isinstance(error, ConnectionRefusedError):
        return Failure(trouble=Trouble.UNREACHABLE, text="connection refused")
    if isinstance(error, (http.client.IncompleteRead, http.client.RemoteDisconnected, ConnectionError)):
        return Failure(trouble=Trouble.BROKEN, text="the connection broke off")
    if isinstance(error, http.client.HTTPException):
        return Failure(trouble=Trouble.BROKEN, text=f"its answer is not HTTP ({type(error).__name__})")
    if isinstance(error, OSError):
        return Failure(trouble=Trouble.UNREACHABLE, text=error.strerror or str(error))
    if isinstance(error, ValueError):
        # Not the error's text: it may quote a header that is a secret.
        return Failure(trouble=Trouble.BROKEN, text="the request or its answer is malformed")
    raise error
