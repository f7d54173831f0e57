"""Names of images as people write them, parsed and brought to one form. Pure.

    busybox                          docker.io/library/busybox:latest
    localhost:5000/a/b:1             as it is
    [::1]:5000/a@sha256:...          as it is
    a/b:1@sha256:...                 docker.io/a/b@sha256:...   (what the digest says is what is meant)

The grammar is that of distribution's reference package, which every registry and client follows. The case of a host is
kept, since the name is shown again as it was asked for.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from imagesvc.digest import Digest, parse_digest
from imagesvc.errors import InvalidReference

DEFAULT_DOMAIN: Final = "docker.io"
DEFAULT_TAG: Final = "latest"
_OFFICIAL: Final = "library/"
_LONGEST_NAME: Final = 255

_LABEL = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_DOMAIN: Final = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[a-fA-F0-9:]+\])(?::([0-9]+))?", re.ASCII)
_COMPONENT: Final = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*", re.ASCII)
_TAG: Final = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}", re.ASCII)
_ID: Final = re.compile(r"[a-f0-9]{64}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """Exactly one of `tag` and `digest` is set."""

    domain: str
    path: str
    tag: str | None = None
    digest: Digest | None = None

    @property
    def name(self) -> str:
        return f"{self.domain}/{self.path}"

    @property
    def target(self) -> str:
        """What the manifest is asked by: the digest or the tag."""
        return self.digest or self.tag or DEFAULT_TAG

    def with_digest(self, digest: Digest) -> str:
        return f"{self.name}@{digest}"

    def __str__(self) -> str:
        return f"{self.name}@{self.digest}" if self.digest else f"{self.name}:{self.tag}"


def parse_reference(text: str) -> Reference:
    """Raises InvalidReference naming what is wrong."""
    if not text:
        raise InvalidReference(text, "it is empty")
    if _ID.fullmatch(text):
        raise InvalidReference(text, "64 hexadecimal digits are an image id, not a name")
    rest, at, digest_text = text.partition("@")
    digest = _digest(text, digest_text) if at else None
    domain, path = _split_domain(rest)
    path, tag = _split_tag(text, path)
    domain = _checked_domain(text, domain)
    if domain == DEFAULT_DOMAIN and "/" not in path:
        path = _OFFICIAL + path
    _check_path(text, path)
    if len(domain) + 1 + len(path) > _LONGEST_NAME:
        raise InvalidReference(text, f"the name is longer than {_LONGEST_NAME} characters")
    if digest:
        return Reference(domain=domain, path=path, digest=digest)
    return Reference(domain=domain, path=path, tag=tag or DEFAULT_TAG)


def _digest(text: str, digest: str) -> Digest:
    try:
        return parse_digest(digest)
    except ValueError as error:
        raise InvalidReference(text, str(error)) from None


def _split_domain(rest: str) -> tuple[str, str]:
    """The first component is a host only if it cannot be part of a name, or is `localhost`."""
    first, slash, path = rest.partition("/")
    if slash and (first == "localhost" or any(mark in first for mark in ".:[") or first.lower() != first):
        return first, path
    return "", rest


def _checked_domain(text: str, domain: str) -> str:
    if domain in ("", "index.docker.io"):
        return DEFAULT_DOMAIN
    match = _DOMAIN.fullmatch(domain)
    if not match:
        raise InvalidReference(text, f"{domain!r} is not a host name")
    port = match[1]
    if port is not None and not 0 < int(port[:6]) < 65536:
        raise InvalidReference(text, f"{port} is not a port number")
    return domain


def _split_tag(text: str, path: str) -> tuple[str, str]:
    path, colon, tag = path.partition(":")
    if colon and not _TAG.fullmatch(tag):
        raise InvalidReference(text, f"{tag[:140]!r} is not a tag")
    return path, tag


def _check_path(text: str, path: str) -> None:
    if not path or path == _OFFICIAL:
        raise InvalidReference(text, "the name of the repository is missing")
    for component in path.split("/"):
        if not _COMPONENT.fullmatch(component):
            hint = ", it must be lower case" if _COMPONENT.fullmatch(component.lower()) else ""
            raise InvalidReference(text, f"{component[:140]!r} is not a repository name{hint}")
