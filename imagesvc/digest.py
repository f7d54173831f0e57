"""Digests: `algorithm:hex`, as image-spec's descriptor.md defines them. Pure."""

from __future__ import annotations

import hashlib
import re
from typing import Final, NewType, Protocol

Digest = NewType("Digest", str)

_LENGTHS: Final = {"sha256": 64, "sha512": 128}
_HEX: Final = re.compile(r"[0-9a-f]+")


class Hash(Protocol):
    def update(self, data: bytes, /) -> None: ...

    def hexdigest(self) -> str: ...


def parse_digest(text: str) -> Digest:
    """Raises ValueError saying what is wrong; only algorithms that can be verified here are accepted."""
    algorithm, separator, encoded = text.partition(":")
    if not separator:
        raise ValueError("a digest is ALGORITHM:HEX")
    length = _LENGTHS.get(algorithm)
    if length is None:
        raise ValueError(f"digest algorithm {algorithm!r} is not known (sha256 and sha512 are)")
    if len(encoded) != length or not _HEX.fullmatch(encoded):
        raise ValueError(f"a {algorithm} digest has {length} lower-case hexadecimal digits")
    return Digest(text)


def new_hash(digest: Digest) -> Hash:
    """The hash object whose result `digest` promises."""
    return hashlib.sha512() if digest.startswith("sha512:") else hashlib.sha256()


def hex_of(digest: str) -> str:
    return digest.partition(":")[2]


def matches(digest: Digest, computed: Hash) -> bool:
    return hex_of(digest) == computed.hexdigest()


def sha256_of(content: bytes) -> Digest:
    return Digest(f"sha256:{hashlib.sha256(content).hexdigest()}")
