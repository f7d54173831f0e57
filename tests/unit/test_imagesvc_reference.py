from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagesvc.digest import matches, new_hash, parse_digest, sha256_of
from imagesvc.errors import InvalidReference
from imagesvc.reference import parse_reference

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("text", "full"),
    [
        ("busybox", "docker.io/library/busybox:latest"),
        ("busybox:1.36", "docker.io/library/busybox:1.36"),
        ("a/b", "docker.io/a/b:latest"),
        ("docker.io/busybox", "docker.io/library/busybox:latest"),
        ("index.docker.io/a/b:1", "docker.io/a/b:1"),
        ("registry.example/busybox", "registry.example/busybox:latest"),
        ("registry.example/a/b/c:v1", "registry.example/a/b/c:v1"),
        ("localhost/x", "localhost/x:latest"),
        ("localhost:5000/x:1", "localhost:5000/x:1"),
        ("host:5000/a/b", "host:5000/a/b:latest"),
        ("127.0.0.1:5000/a", "127.0.0.1:5000/a:latest"),
        ("[::1]:5000/a/b:1", "[::1]:5000/a/b:1"),
        ("[fd00::1]/a", "[fd00::1]/a:latest"),
        ("Registry.Example:443/a", "Registry.Example:443/a:latest"),
        ("HOST/a", "HOST/a:latest"),
        (f"a@{DIGEST}", f"docker.io/library/a@{DIGEST}"),
        (f"r.example/a:1@{DIGEST}", f"r.example/a@{DIGEST}"),
        ("a/b__c-d--e.f:A_1.2-3", "docker.io/a/b__c-d--e.f:A_1.2-3"),
        ("a@sha512:" + "b" * 128, "docker.io/library/a@sha512:" + "b" * 128),
    ],
)
def test_names_are_brought_to_one_form(text: str, full: str) -> None:
    reference = parse_reference(text)
    assert str(reference) == full
    assert parse_reference(full) == reference


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "empty"),
        ("a" * 64, "image id"),
        ("Busybox", "lower case"),
        ("r.example/Foo", "lower case"),
        ("a:", "not a tag"),
        ("a:" + "t" * 129, "not a tag"),
        ("a:-x", "not a tag"),
        ("a:b:c", "not a tag"),
        ("a//b", "not a repository name"),
        ("/a", "not a repository name"),
        ("a/", "not a repository name"),
        ("a/b/", "not a repository name"),
        ("-a", "not a repository name"),
        ("a..b", "not a repository name"),
        ("a___b", "not a repository name"),
        ("a b", "not a repository name"),
        ("ä", "not a repository name"),
        ("r.example/", "missing"),
        ("host:0/a", "port"),
        ("host:65536/a", "port"),
        ("host:99999999999999999999/a", "port"),
        ("host:x/a", "host name"),
        ("[::1/a", "host name"),
        ("-h.example/a", "host name"),
        ("https://r.example/a", "host name"),
        ("a@sha256:xyz", "hexadecimal"),
        ("a@md5:" + "a" * 32, "md5"),
        ("a@", "ALGORITHM:HEX"),
        ("a@sha256:" + "A" * 64, "lower-case"),
        ("r.example/" + "a" * 250, "longer than 255"),
        ("a\n", "not a repository name"),
        ("a:1\n", "not a tag"),
        (" a", "not a repository name"),
    ],
)
def test_what_is_no_name_is_refused_with_the_reason(text: str, problem: str) -> None:
    with pytest.raises(InvalidReference, match=problem) as caught:
        parse_reference(text)
    assert caught.value.reference == text


@given(st.text(alphabet="aA0.:/@-_[]%\n\0ä ", max_size=40))
def test_any_text_is_a_name_or_refused(text: str) -> None:
    try:
        reference = parse_reference(text)
    except InvalidReference:
        return
    assert parse_reference(str(reference)) == reference


def test_the_target_is_the_digest_or_the_tag() -> None:
    assert parse_reference("a:1").target == "1"
    assert parse_reference(f"a:1@{DIGEST}").target == DIGEST
    assert parse_reference("a:1").with_digest(parse_digest(DIGEST)) == f"docker.io/library/a@{DIGEST}"


def test_digests_verify_content() -> None:
    digest = sha256_of(b"content")
    computed = new_hash(digest)
    computed.update(b"content")
    assert matches(digest, computed)
    computed.update(b"!")
    assert not matches(digest, computed)
    long = new_hash(parse_digest("sha512:" + "0" * 128))
    assert len(long.hexdigest()) == 128
