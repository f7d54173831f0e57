"""The image writer: digests that depend on content alone, documents, a layout, a push that sends what is missing."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from deploy.image import (
    Compression,
    Image,
    ImageConfig,
    Layer,
    LayerBuilder,
    Platform,
    PushError,
    Registry,
    index_document,
    write_layout,
)


def small_layer(directory: Path, compression: Compression = Compression.GZIP) -> Layer:
    with LayerBuilder(directory, compression) as layer:
        layer.file("usr/bin/tool", b"#!/bin/sh\n", 0o755)
        layer.hardlink("usr/bin/same", "usr/bin/tool")
        layer.symlink("bin", "usr/bin")
        layer.directory("tmp", 0o1777)
        layer.whiteout("etc/old")
        return layer.finish()


def inflated(layer: Layer) -> bytes:
    content = layer.path.read_bytes()
    if layer.media_type.endswith("+gzip"):
        return gzip.decompress(content)
    if layer.media_type.endswith("+zstd"):
        zstd = pytest.importorskip("backports.zstd")
        data = zstd.decompress(content)
        assert isinstance(data, bytes)
        return data
    return content


def digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


@pytest.mark.parametrize("compression", list(Compression))
def test_digests_are_those_of_the_bytes(tmp_path: Path, compression: Compression) -> None:
    layer = small_layer(tmp_path, compression)
    assert digest(layer.path.read_bytes()) == layer.digest
    assert digest(inflated(layer)) == layer.diff_id
    assert layer.path.stat().st_size == layer.size
    assert [path.name for path in tmp_path.iterdir()] == [layer.path.name]


def test_the_same_content_gives_the_same_digest(tmp_path: Path) -> None:
    assert small_layer(tmp_path / "a").digest == small_layer(tmp_path / "b").digest


def test_entries_come_with_their_parents_first(tmp_path: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(inflated(small_layer(tmp_path)))) as archive:
        entries = {entry.name: entry for entry in archive}
    assert list(entries) == ["usr", "usr/bin", "usr/bin/tool", "usr/bin/same", "bin", "tmp", "etc", "etc/.wh.old"]
    assert entries["usr/bin/tool"].mode == 0o755
    assert entries["usr/bin/same"].linkname == "usr/bin/tool"
    assert entries["bin"].issym()
    assert entries["tmp"].mode == 0o1777
    assert {(entry.uid, entry.gid) for entry in entries.values()} == {(0, 0)}


def test_a_tree_is_copied_in_order_without_what_is_skipped(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "b").mkdir(parents=True)
    (root / "b" / "file").write_text("b")
    (root / "a").write_text("a")
    (root / "link").symlink_to("b")
    (root / "b" / "no").write_text("skipped")
    with LayerBuilder(tmp_path / "out") as builder:
        builder.file("a", b"first wins")
        builder.tree(root, skip=["b/no"])
        layer = builder.finish()
    with tarfile.open(fileobj=io.BytesIO(inflated(layer))) as archive:
        assert archive.getnames() == ["a", "link", "b", "b/file"]
        member = archive.extractfile("a")
        assert member is not None
        assert member.read() == b"first wins"


def test_an_abandoned_layer_leaves_no_file(tmp_path: Path) -> None:
    with LayerBuilder(tmp_path) as layer:
        layer.file("x", b"x")
    assert list(tmp_path.iterdir()) == []


def test_the_configuration_leaves_out_what_is_empty(tmp_path: Path) -> None:
    layer = small_layer(tmp_path)
    image = Image(layers=[layer], config=ImageConfig(cmd=("sh",), volumes=("/data",), user="1000"))
    document = json.loads(image.config_document)
    assert document["config"]["Cmd"] == ["sh"]
    assert document["config"]["Volumes"] == {"/data": {}}
    assert document["config"]["User"] == "1000"
    assert "Entrypoint" not in document["config"]
    assert document["rootfs"]["diff_ids"] == [layer.diff_id]
    assert image.id == digest(image.config_document)


def test_a_layout_holds_every_blob_under_its_digest(tmp_path: Path) -> None:
    image = Image(layers=[small_layer(tmp_path / "layers")])
    target = tmp_path / "layout"
    write_layout(target, {"1": image})
    blobs = list((target / "blobs" / "sha256").iterdir())
    assert len(blobs) == 3
    assert all(hashlib.sha256(blob.read_bytes()).hexdigest() == blob.name for blob in blobs)
    index = json.loads((target / "index.json").read_bytes())
    assert index["manifests"][0]["digest"] == image.manifest.digest
    assert index["manifests"][0]["annotations"] == {"org.opencontainers.image.ref.name": "1"}


def test_an_index_names_platforms(tmp_path: Path) -> None:
    layer = small_layer(tmp_path)
    images = [Image(layers=[layer], platform=Platform(architecture=name)) for name in ("amd64", "arm64")]
    index = json.loads(index_document(images))
    assert [entry["platform"]["architecture"] for entry in index["manifests"]] == ["amd64", "arm64"]


class FakeRegistry(ThreadingHTTPServer):
    """Takes what is pushed; a repository named `closed` refuses."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.blobs: dict[str, bytes] = {}
        self.manifests: dict[str, bytes] = {}
        self.uploads = 0


class _Handler(BaseHTTPRequestHandler):
    server: FakeRegistry

    def do_HEAD(self) -> None:
        self._answer(200 if self.path.rpartition("/")[2] in self.server.blobs else 404)

    def do_POST(self) -> None:
        self.server.uploads += 1
        code = 403 if "/closed/" in self.path else 202
        self._answer(code, {"Location": f"http://registry.example/upload/{self.server.uploads}?state=x"})

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path.startswith("/upload/"):
            self.server.blobs[self.path.rpartition("digest=")[2]] = body
        else:
            self.server.manifests[self.path] = body
        self._answer(201)

    def _answer(self, code: int, headers: dict[str, str] | None = None) -> None:
        self.send_response(code)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Silence."""


@contextmanager
def fake_registry() -> Iterator[tuple[FakeRegistry, Registry]]:
    server = FakeRegistry()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server, Registry(f"127.0.0.1:{server.server_address[1]}")
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_push_sends_each_blob_once(tmp_path: Path) -> None:
    image = Image(layers=[small_layer(tmp_path)])
    with fake_registry() as (server, client):
        assert client.push("a/b", ["1", "2"], image) == image.manifest
        client.push("a/b", ["3"], image)
    assert server.uploads == 2
    assert set(server.blobs) == {image.layers[0].digest, image.id}
    assert all(digest(content) == name for name, content in server.blobs.items())
    assert sorted(server.manifests) == [f"/v2/a/b/manifests/{tag}" for tag in ("1", "2", "3")]


def test_a_refused_push_says_what_was_refused(tmp_path: Path) -> None:
    image = Image(layers=[small_layer(tmp_path)])
    with fake_registry() as (_, client), pytest.raises(PushError, match="POST /v2/closed/blobs/uploads/") as caught:
        client.push("closed", ["1"], image)
    assert caught.value.status == 403
