"""document, manifest, config, platforms: what registries send, read strictly."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagesvc.config import parse_config
from imagesvc.document import DocumentError, parse_document
from imagesvc.manifest import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    OCI_INDEX,
    OCI_MANIFEST,
    Index,
    Manifest,
    is_layer_type,
    parse_manifest,
)
from imagesvc.platforms import Platform, amd64_level, select, variants

DIGEST = "sha256:" + "a" * 64


def descriptor(**fields: object) -> dict[str, object]:
    return {"mediaType": "x/y", "digest": DIGEST, "size": 10, **fields}


def manifest(**fields: object) -> bytes:
    content = {"schemaVersion": 2, "config": descriptor(), "layers": [descriptor(), descriptor(size=0)], **fields}
    return json.dumps({key: value for key, value in content.items() if value is not None}).encode()


def index(*entries: dict[str, object], **fields: object) -> bytes:
    return json.dumps({"schemaVersion": 2, "manifests": list(entries), **fields}).encode()


@pytest.mark.parametrize("kind", [OCI_MANIFEST, DOCKER_MANIFEST])
def test_manifests_of_both_kinds(kind: str) -> None:
    for content, header in ((manifest(mediaType=kind), ""), (manifest(), kind + "; charset=utf-8"), (manifest(), "")):
        parsed = parse_manifest(content, header)
        assert isinstance(parsed, Manifest)
        assert [layer.size for layer in parsed.layers] == [10, 0]


@pytest.mark.parametrize("kind", [OCI_INDEX, DOCKER_LIST])
def test_indexes_of_both_kinds(kind: str) -> None:
    content = index(
        descriptor(platform={"os": "linux", "architecture": "arm64", "variant": "v8"}),
        descriptor(platform={"os": "unknown", "architecture": "unknown"}),
        descriptor(annotations={"vnd.docker.reference.type": "attestation-manifest"}),
        descriptor(),
        mediaType=kind,
    )
    parsed = parse_manifest(content, kind)
    assert isinstance(parsed, Index)
    assert [entry.attestation for entry in parsed.manifests] == [False, True, True, False]
    assert parsed.manifests[0].platform == Platform(os="linux", architecture="arm64", variant="v8")


@pytest.mark.parametrize(
    ("content", "header", "problem"),
    [
        (b"", "", "not JSON"),
        (b"[]", "", "not a JSON object"),
        (b"\xff\xfe", "", "not JSON"),
        (b'{"a": NaN}', "", "NaN"),
        (b'{"a": 1, "a": 2}', "", "'a' twice"),
        (b"[" * 100_000, "", "nested"),
        (b'{"x": "' + b"y" * (4 << 20) + b'"}', "", "more than 4194304"),
        (b"{}", "text/html", "neither"),
        (b'{"schemaVersion": 1, "fsLayers": []}', "", "obsolete"),
        (manifest(mediaType=OCI_MANIFEST), OCI_INDEX, "the registry says"),
        (manifest(manifests=[]), "", "both"),
        (manifest(mediaType=OCI_INDEX), "", "an index has none"),
        (index(config=descriptor()), "", "both"),
        (manifest(config=None, mediaType=OCI_MANIFEST), "", "config: is missing"),
        (manifest(layers={}), "", "layers: must be a list"),
        (manifest(layers=[1]), "", r"layers\[0\]: must be an object"),
        (manifest(layers=[descriptor(size=-1)]), "", r"layers\[0\].size: -1"),
        (manifest(layers=[descriptor(size="1")]), "", "whole number"),
        (manifest(layers=[descriptor(size=True)]), "", "whole number"),
        (manifest(layers=[descriptor(digest="sha256:../../x")]), "", r"layers\[0\].digest"),
        (manifest(layers=[descriptor()] * 501), "", "501"),
        (manifest(config=descriptor(digest=None)), "", "config.digest: is missing"),
        (b'{"mediaType": "\\ud800", "config": {}}', "", "not Unicode"),
        (b'{"a": ' + b"9" * 5000 + b"}", "", "not JSON"),
    ],
)
def test_bad_manifests_are_refused_with_the_field(content: bytes, header: str, problem: str) -> None:
    with pytest.raises(DocumentError, match=problem):
        parse_manifest(content, header)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_document_or_refused(content: bytes) -> None:
    for parse in (parse_document, parse_manifest, parse_config):
        try:
            parse(content)
        except DocumentError:
            pass


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 1 << 60) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "config",
                    "layers",
                    "manifests",
                    "mediaType",
                    "digest",
                    "size",
                    "rootfs",
                    "diff_ids",
                    "Env",
                    "platform",
                ]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)


@given(JSON)
def test_any_json_is_a_document_or_refused(value: object) -> None:
    content = json.dumps(value).encode()
    for parse in (parse_manifest, parse_config):
        try:
            parse(content)
        except DocumentError:
            pass


def test_config_documents() -> None:
    content = {
        "architecture": "amd64",
        "os": "linux",
        "config": {
            "Env": ["A=1"],
            "Entrypoint": ["/x"],
            "Cmd": None,
            "User": "1:2",
            "WorkingDir": "/w",
            "Volumes": {"/data": {}},
            "ExposedPorts": {"80/tcp": {}},
            "Labels": {"a": "b", "n": None},
            "StopSignal": "SIGQUIT",
            "Unknown": 1,
        },
        "rootfs": {"type": "layers", "diff_ids": [DIGEST]},
        "history": [{"empty_layer": True}],
    }
    parsed = parse_config(json.dumps(content).encode())
    assert parsed.diff_ids == (DIGEST,)
    config = parsed.config
    assert (config.env, config.entrypoint, config.cmd, config.user) == (("A=1",), ("/x",), (), "1:2")
    assert (config.volumes, config.exposed_ports, config.stop_signal) == (("/data",), ("80/tcp",), "SIGQUIT")
    assert config.labels == {"a": "b", "n": ""}
    assert parse_config(b'{"config": null}').diff_ids == ()


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b'{"rootfs": {"diff_ids": ["x"]}}', r"rootfs.diff_ids\[0\]"),
        (b'{"config": {"Env": "A"}}', "config.Env: must be a list"),
        (b'{"config": {"Labels": {"a": 1}}}', "config.Labels.a"),
    ],
)
def test_bad_configs_are_refused_with_the_field(content: bytes, problem: str) -> None:
    with pytest.raises(DocumentError, match=problem):
        parse_config(content)


def test_layer_types() -> None:
    good = [
        "application/vnd.oci.image.layer.v1.tar",
        "application/vnd.oci.image.layer.v1.tar+gzip",
        "application/vnd.oci.image.layer.v1.tar+zstd",
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        "application/vnd.docker.image.rootfs.diff.tar",
        "application/vnd.docker.image.rootfs.diff.tar.gzip",
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
    ]
    assert all(is_layer_type(kind) for kind in good)
    assert not is_layer_type("application/vnd.oci.image.layer.v1.tar+gzip+encrypted")
    assert not is_layer_type("text/plain")


# --- platforms -----------------------------------------------------------------------------------------------------


def on(architecture: str, variant: str = "", os: str = "linux") -> Platform:
    return Platform(os=os, architecture=architecture, variant=variant)


@pytest.mark.parametrize(
    ("entries", "host", "chosen"),
    [
        ([on("arm64", "v8"), on("amd64")], on("amd64", "v1"), 1),
        ([on("amd64"), on("amd64", "v3"), on("amd64", "v2")], on("amd64", "v3"), 1),
        ([on("amd64"), on("amd64", "v3"), on("amd64", "v2")], on("amd64", "v2"), 2),
        ([on("amd64", "v4"), on("amd64", "v1")], on("amd64", "v2"), 1),
        ([on("amd64", os="windows"), on("amd64")], on("amd64"), 1),
        ([on("arm", "v6"), on("arm", "v7")], on("arm", "v7"), 1),
        ([on("arm", "v7"), on("arm", "v5")], on("arm", "v6"), 1),
        ([on("arm64")], on("arm64", "v8"), 0),
        ([on("arm64", "v9")], on("arm64", "v8"), None),
        ([None, on("arm64")], on("amd64"), 0),
        ([None, on("amd64")], on("amd64"), 1),
        ([on("amd64"), on("amd64")], on("amd64"), 0),
        ([], on("amd64"), None),
    ],
)
def test_the_best_entry_is_chosen(entries: list[Platform | None], host: Platform, chosen: int | None) -> None:
    assert select(entries, host) == chosen


def test_amd64_levels() -> None:
    v2 = "flags\t\t: cx16 lahf_lm popcnt pni sse4_1 sse4_2 ssse3"
    assert amd64_level("flags : fpu") == "v1"
    assert amd64_level(v2) == "v2"
    assert amd64_level(v2 + " abm avx avx2 bmi1 bmi2 f16c fma movbe xsave\nflags: none") == "v3"
    assert amd64_level("") == "v1"
    assert variants(on("amd64", "v3")) == ("v3", "v2", "", "v1")
    assert str(on("arm", "v7")) == "linux/arm/v7"
