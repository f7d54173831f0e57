"""A small client of an HTTPS API that knows a certificate of ours: JSON in, JSON out, and waiting.

kubectl starts a program for each question; a test asks several times a second.
"""

from __future__ import annotations

import http.client
import json
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

Document = dict[str, Any]
_PATCH: Final = "application/strategic-merge-patch+json"


class Refused(Exception):
    """The server answered with an error."""

    def __init__(self, method: str, path: str, status: int, body: str) -> None:
        super().__init__(f"{method} {path}: {status} {body[:2000]}")
        self.status = status
        self.body = body


class TookTooLong(Exception):
    """Something did not come true in time; the message shows what there was last."""


class Api:
    def __init__(self, address: str, certificate: Path, key: Path) -> None:
        self._host, self._port = urlsplit(address).hostname or "", urlsplit(address).port
        self._context = ssl.create_default_context()
        # The kubelet's certificate is one that it made for itself.
        self._context.check_hostname = False
        self._context.verify_mode = ssl.CERT_NONE
        self._context.load_cert_chain(certificate, key)

    def text(self, method: str, path: str, body: object = None, kind: str = "application/json") -> str:
        connection = http.client.HTTPSConnection(self._host, self._port, timeout=60, context=self._context)
        try:
            data = None if body is None else json.dumps(body)
            connection.request(method, path, data, {"Content-Type": kind, "Accept": "application/json"})
            answer = connection.getresponse()
            text = answer.read().decode()
        finally:
            connection.close()
        if answer.status >= 400:
            raise Refused(method, path, answer.status, text)
        return text

    def get(self, path: str) -> Document:
        return _document(self.text("GET", path))

    def find(self, path: str) -> Document | None:
        """None when there is no such object."""
        try:
            return self.get(path)
        except Refused as refused:
            if refused.status == 404:
                return None
            raise

    def post(self, path: str, body: Document) -> Document:
        return _document(self.text("POST", path, body))

    def patch(self, path: str, body: Document) -> Document:
        return _document(self.text("PATCH", path, body, _PATCH))

    def delete(self, path: str, grace: int | None = None) -> None:
        """An object that is gone already is fine."""
        options = {"propagationPolicy": "Background"} | ({} if grace is None else {"gracePeriodSeconds": grace})
        try:
            self.text("DELETE", path, options)
        except Refused as refused:
            if refused.status != 404:
                raise


def until(what: str, ask: Callable[[], Any], *, seconds: float = 60, every: float = 0.2) -> Any:
    """The first true answer of `ask`. Errors of a server that is being restarted are no answer."""
    deadline = time.monotonic() + seconds
    problem: object = ""
    while time.monotonic() < deadline:
        try:
            answer = ask()
        except (OSError, http.client.HTTPException, Refused) as error:
            answer, problem = None, error
        if answer:
            return answer
        time.sleep(every)
    raise TookTooLong(f"waited {seconds:g} s for {what}{f' ({problem})' if problem else ''}")


def _document(text: str) -> Document:
    document: Document = json.loads(text)
    return document
