"""WWW-Authenticate (RFC 9110, 11.6.1), taken apart. Pure.

A header may hold several challenges, a scheme's name starts the next one, parameters are tokens or quoted strings.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

_TOKEN: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_PARAMETER: Final = re.compile(rf'\s*({_TOKEN})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]*))\s*(?:,|$)')
_SCHEME: Final = re.compile(rf"[\s,]*({_TOKEN})(?:\s+|\s*,|$)")
_ESCAPE: Final = re.compile(r"\\(.)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenge:
    """`scheme` and the parameters' names are in lower case."""

    scheme: str
    parameters: Mapping[str, str]


def parse_challenges(headers: Iterable[str]) -> tuple[Challenge, ...]:
    """What can be understood of them, in order; the rest of a malformed header is left out."""
    found: list[Challenge] = []
    for header in headers:
        position = 0
        while position < len(header):
            scheme = _SCHEME.match(header, position)
            if not scheme:
                break
            position = scheme.end()
            parameters: dict[str, str] = {}
            while parameter := _PARAMETER.match(header, position):
                name, quoted, plain = parameter.groups()
                parameters[name.lower()] = _ESCAPE.sub(r"\1", quoted) if quoted is not None else plain
                position = parameter.end()
            found.append(Challenge(scheme=scheme[1].lower(), parameters=parameters))
    return tuple(found)
