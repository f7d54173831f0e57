"""JSON that strangers wrote: parsed strictly, read through typed accessors that name the field. Pure.

Duplicate names are an error (two readers would see two documents), unknown ones are not (image-spec). Numbers that are
no JSON and documents nested too deeply are refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final, NoReturn

#: The limit that every registry and client keeps for manifests (distribution-spec, "Pushing Manifests").
MAX_DOCUMENT: Final = 4 << 20


class DocumentError(ValueError):
    """`field` is the path in the document, like `layers[2].digest`; "" for the document as a whole."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}" if field else problem)
        self.field = field
        self.problem = problem


class Fields:
    """One JSON object and where it stands. A null is the same as an absent field."""

    def __init__(self, content: Mapping[str, object], where: str = "") -> None:
        self._content = content
        self._where = where

    def __contains__(self, key: str) -> bool:
        return self._content.get(key) is not None

    def fail(self, key: str, problem: str) -> NoReturn:
        raise DocumentError(self._path(key), problem)

    def keys(self) -> tuple[str, ...]:
        return tuple(self._unicode(key, key) for key in self._content)

    def text(self, key: str, default: str | None = None) -> str:
        value = self._content.get(key)
        if value is None and default is not None:
            return default
        if not isinstance(value, str):
            self.fail(key, "is missing" if value is None else "must be a text")
        return self._unicode(key, value)

    def integer(self, key: str, default: int | None = None) -> int:
        value = self._content.get(key)
        if value is None and default is not None:
            return default
        if not isinstance(value, int) or isinstance(value, bool):
            self.fail(key, "is missing" if value is None else "must be a whole number")
        return value

    def fields(self, key: str) -> Fields:
        """The object at `key`; an empty one where it is absent."""
        value = self._content.get(key)
        if value is None:
            return Fields({}, self._path(key))
        if not isinstance(value, dict):
            self.fail(key, "must be an object")
        return Fields(value, self._path(key))

    def list_of_fields(self, key: str) -> tuple[Fields, ...]:
        found = []
        for index, item in enumerate(self._list(key)):
            where = f"{self._path(key)}[{index}]"
            if not isinstance(item, dict):
                raise DocumentError(where, "must be an object")
            found.append(Fields(item, where))
        return tuple(found)

    def texts(self, key: str) -> tuple[str, ...]:
        found = []
        for index, item in enumerate(self._list(key)):
            if not isinstance(item, str):
                raise DocumentError(f"{self._path(key)}[{index}]", "must be a text")
            found.append(self._unicode(f"{key}[{index}]", item))
        return tuple(found)

    def text_map(self, key: str) -> dict[str, str]:
        inner = self.fields(key)
        return {name: inner.text(name, "") for name in inner.keys()}  # noqa: SIM118

    def _unicode(self, key: str, value: str) -> str:
        """JSON can escape half a surrogate pair, which no UTF-8 text may hold."""
        if not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError:
                self.fail(key, "is not Unicode text")
        return value

    def _list(self, key: str) -> list[object]:
        value = self._content.get(key)
        if value is None:
            return []
        if not isinstance(value, list):
            self.fail(key, "must be a list")
        return value

    def _path(self, key: str) -> str:
        return f"{self._where}.{key}" if self._where else key


def parse_document(content: bytes) -> Fields:
    """Raises DocumentError."""
    if len(content) > MAX_DOCUMENT:
        raise DocumentError("", f"has {len(content)} bytes, more than {MAX_DOCUMENT}")
    try:
        value = json.loads(content.decode(), object_pairs_hook=_unique, parse_constant=_no_constant)
    except DocumentError:
        raise
    except RecursionError:
        raise DocumentError("", "is nested too deeply") from None
    except ValueError as error:
        raise DocumentError("", f"is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise DocumentError("", "is not a JSON object")
    return Fields(value)


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    content = dict(pairs)
    if len(content) != len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise DocumentError("", f"names {name!r} twice")
            seen.add(name)
    return content


def _no_constant(name: str) -> NoReturn:
    raise DocumentError("", f"is not JSON: {name}")
