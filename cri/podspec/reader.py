"""Typed access to a parsed manifest: each value is asked for by key and type, and every message names its path.

What nobody asked for is found at the end: those fields become notices.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, TypeVar

T = TypeVar("T")

LIMIT: Final = 1 << 63
"""The messages hold 64-bit numbers."""

_WORDS: Final[dict[type[object], str]] = {
    str: "a text",
    int: "a whole number",
    bool: "true or false",
    dict: "a table",
    list: "a list",
}


class ManifestError(Exception):
    """The manifest's writer's fault. `field` is a path like spec.containers[1].image."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field
        self.problem = problem


class Reader:
    """One table of the manifest; tables below it share the record of what was read."""

    def __init__(self, table: Mapping[str, object], path: str = "", seen: dict[int, Seen] | None = None) -> None:
        self._table = table
        self.path = path
        self._seen = {} if seen is None else seen
        self._keys = self._seen.setdefault(id(table), Seen(table, path)).keys

    def where(self, key: str) -> str:
        return f"{self.path}.{key}" if self.path else key

    def has(self, key: str) -> bool:
        return self._table.get(key) is not None

    def text(self, key: str, default: str | None = None) -> str:
        return self._value(key, str, default)

    def number(self, key: str, default: int | None = None) -> int:
        number = self._value(key, int, default)
        if abs(number) >= LIMIT:
            raise ManifestError(self.where(key), f"{number} is out of range")
        return number

    def flag(self, key: str, default: bool | None = None) -> bool:
        return self._value(key, bool, default)

    def scalar(self, key: str, default: str = "") -> str:
        """A text, or a number that YAML read as one: quantities are written both ways."""
        self._keys.add(key)
        value = self._table.get(key)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise ManifestError(self.where(key), f"must be a text or a number, is {value!r}")
        return str(value)

    def texts(self, key: str) -> list[str]:
        return [self._checked(f"{self.where(key)}[{n}]", item, str) for n, item in enumerate(self._list(key))]

    def numbers(self, key: str) -> list[int]:
        numbers = [self._checked(f"{self.where(key)}[{n}]", item, int) for n, item in enumerate(self._list(key))]
        if any(abs(number) >= LIMIT for number in numbers):
            raise ManifestError(self.where(key), "holds a number that is out of range")
        return numbers

    def text_map(self, key: str) -> dict[str, str]:
        self._keys.add(key)
        table = self._table.get(key) or {}
        entries = self._checked(self.where(key), table, dict)
        return {name: self._checked(f"{self.where(key)}.{name}", value, str) for name, value in entries.items()}

    def table(self, key: str) -> Reader:
        """An empty one where the manifest has none."""
        self._keys.add(key)
        value = self._table.get(key)
        return self._below(self.where(key), {} if value is None else value)

    def tables(self, key: str) -> Iterator[Reader]:
        for number, item in enumerate(self._list(key)):
            yield self._below(f"{self.where(key)}[{number}]", item)

    def ignore(self, *keys: str) -> None:
        """Fields that are understood and mean nothing here."""
        self._keys.update(keys)

    def unread(self) -> list[str]:
        """Paths of the fields that nobody asked for, in this table and those below that were opened."""
        return [path for seen in self._seen.values() for path in seen.unread()]

    def _below(self, path: str, value: object) -> Reader:
        return Reader(self._checked(path, value, dict), path, self._seen)

    def _list(self, key: str) -> list[object]:
        self._keys.add(key)
        value = self._table.get(key)
        return [] if value is None else self._checked(self.where(key), value, list)

    def _value(self, key: str, kind: type[T], default: T | None) -> T:
        self._keys.add(key)
        value = self._table.get(key)
        if value is not None:
            return self._checked(self.where(key), value, kind)
        if default is None:
            raise ManifestError(self.where(key), "is required")
        return default

    @staticmethod
    def _checked(path: str, value: object, kind: type[T]) -> T:
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise ManifestError(path, f"must be {_WORDS[kind]}, is {value!r}")
        return value


class Seen:
    """Which keys of one table were asked for. Holds the table: its identity is the record's key."""

    def __init__(self, table: Mapping[str, object], path: str) -> None:
        self.table = table
        self.path = path
        self.keys: set[str] = set()

    def unread(self) -> list[str]:
        prefix = f"{self.path}." if self.path else ""
        return [f"{prefix}{key}" for key, value in self.table.items() if key not in self.keys and value is not None]
