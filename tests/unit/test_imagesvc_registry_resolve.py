"""From a reference to config and layers: indexes, manifests, configs, right and wrong."""

from __future__ import annotations

import json

import pytest

from imagesvc import errors
from imagesvc.digest import Digest, sha256_of
from imagesvc.platforms import Platform
from imagesvc.registry.messages import (
    Failure,
    Request,
    Response,
)
from imagesvc.registry.resolve import current_digest, resolve
from tests.registry_script import (
    BLOB,
    Script,
    Wire,
    answer,
    once,
    session,
)

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
