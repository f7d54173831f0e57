"""A registry that lies, breaks and hangs: each repository serves the same small image with a fault of its own.

good            no fault
wrong-digest    the layer's bytes are not those of its digest
corrupt         the layer is no gzip stream, digest and size right
truncated       the connection closes in the middle of the layer
short           the layer is shorter than the manifest says
climbs          the layer's archive leads out of its root
diff-id         the layer inflates to something else than the configuration says
garbage         the manifest is no JSON
locked          401, without a way to log in
forbidden       403
busy            429, always
broken          500, always
hangs           the layer never comes
"""

from __future__ import annotations

import gzip
import hashlib
import json
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from typing import Final

from deploy.image import Platform

MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
CONFIG: Final = "application/vnd.oci.image.config.v1+json"
LAYER: Final = "application/vnd.oci.image.layer.v1.tar+gzip"
STATUSES: Final = {"locked": 401, "forbidden": 403, "busy": 429, "broken": 500}


class FaultyRegistry:
    """Serves on loopback; `requests` counts what was asked for, by path."""

    def __init__(self) -> None:
        self.requests: dict[str, int] = {}
        self.blobs, self.manifests = _content()
        self.ended = threading.Event()
        handler = type("Handler", (_Handler,), {"registry": self})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.server.daemon_threads = True

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server.server_address[1]}"


@contextmanager
def faulty_registry() -> Iterator[FaultyRegistry]:
    registry = FaultyRegistry()
    thread = threading.Thread(target=registry.server.serve_forever)
    thread.start()
    try:
        yield registry
    finally:
        registry.ended.set()
        registry.server.shutdown()
        thread.join()
        registry.server.server_close()


class _Handler(BaseHTTPRequestHandler):
    registry: FaultyRegistry
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.registry.requests[self.path] = self.registry.requests.get(self.path, 0) + 1
        parts = self.path.strip("/").split("/")
        if parts == ["v2"]:
            self._answer(200, b"{}")
            return
        repository, kind, reference = parts[1], parts[2], parts[3]
        if repository in STATUSES:
            code = STATUSES[repository]
            self._answer(code, b'{"errors":[{"code":"DENIED","message":"the gate is shut"}]}')
        elif kind == "manifests" and repository in self.registry.manifests:
            self._answer(200, self.registry.manifests[repository], MANIFEST)
        elif kind == "blobs" and reference in self.registry.blobs:
            self._blob(repository, self.registry.blobs[reference])
        else:
            self._answer(404, b'{"errors":[{"code":"NAME_UNKNOWN"}]}')

    do_HEAD = do_GET

    def _blob(self, repository: str, content: bytes) -> None:
        is_layer = not content.startswith(b"{")
        if is_layer and repository == "hangs":
            self.registry.ended.wait(60)
            self.close_connection = True
        elif is_layer and repository == "truncated":
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: len(content) // 2])
            self.close_connection = True
        elif is_layer and repository == "wrong-digest":
            self._answer(200, bytes([content[0] ^ 1]) + content[1:])
        else:
            self._answer(200, content)

    def _answer(self, status: int, body: bytes, kind: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        if status == 200 and kind == MANIFEST:
            self.send_header("Docker-Content-Digest", _digest(body))
        if status == 429:
            self.send_header("Retry-After", "1")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """The test counts requests itself."""


def _content() -> tuple[dict[str, bytes], dict[str, bytes]]:
    """All blobs by digest, and each repository's manifest."""
    blobs: dict[str, bytes] = {}
    manifests: dict[str, bytes] = {"garbage": b"<html>maintenance</html>"}
    for name in ("good", "wrong-digest", "corrupt", "truncated", "short", "climbs", "diff-id", "hangs"):
        blob, diff_id = _layer(name)
        config = json.dumps(
            {
                "architecture": Platform.here().architecture,
                "os": "linux",
                "config": {"Labels": {"fault": name}},
                "rootfs": {"type": "layers", "diff_ids": [diff_id]},
            }
        ).encode()
        blobs[_digest(blob)], blobs[_digest(config)] = blob, config
        size = len(blob) + (100 if name == "short" else 0)
        manifests[name] = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST,
                "config": {"mediaType": CONFIG, "digest": _digest(config), "size": len(config)},
                "layers": [{"mediaType": LAYER, "digest": _digest(blob), "size": size}],
            }
        ).encode()
    return blobs, manifests


def _layer(name: str) -> tuple[bytes, str]:
    """The blob and its diff id. Every repository has content of its own, so that none finds another's layer."""
    words = hashlib.sha512(name.encode()).hexdigest()
    plain = _archive("../../escaped" if name == "climbs" else "etc/greeting", f"{words}\n".encode() * 2000)
    if name == "corrupt":
        return b"this is no gzip stream " * 500, _digest(plain)
    diff_id = "sha256:" + "a" * 64 if name == "diff-id" else _digest(plain)
    return gzip.compress(plain, mtime=0), diff_id


def _archive(name: str, content: bytes) -> bytes:
    target = BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        entry = tarfile.TarInfo(name)
        entry.size = len(content)
        archive.addfile(entry, BytesIO(content))
    return target.getvalue()


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
