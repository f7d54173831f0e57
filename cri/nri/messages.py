"""Small handling of protobuf messages that every part of NRI needs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, TypeVar

from google.protobuf.message import Message

M = TypeVar("M", bound=Message)


class Entries(Protocol[M]):
    """A repeated field of messages."""

    def __iter__(self) -> Iterator[M]: ...
    def __delitem__(self, key: slice) -> None: ...
    def append(self, value: M, /) -> None: ...
    def extend(self, values: Iterable[M], /) -> None: ...


def keep(entries: Entries[M], wanted: Callable[[M], bool]) -> None:
    """Drop the others."""
    kept = [entry for entry in entries if wanted(entry)]
    copies = [type(entry).FromString(entry.SerializeToString()) for entry in kept]
    del entries[:]
    entries.extend(copies)


def present(message: Message, names: Iterable[str]) -> Iterator[str]:
    """Those that are set: messages that are there, texts that are not empty."""
    for field, _ in message.ListFields():
        if field.name in names:
            yield field.name


def copy(target: Message, source: Message, names: Iterable[str]) -> None:
    """Replace, not merge: merging an optional value that is 0 would leave the former one."""
    for name in names:
        value = getattr(source, name)
        if isinstance(value, Message):
            getattr(target, name).CopyFrom(value)
        else:
            setattr(target, name, value)


def optionals(message: M, value: object, names: Iterable[str]) -> M:
    """Fill fields from attributes of the same names that are not None: optional values, and plain texts."""
    for name in names:
        given = getattr(value, name)
        if given is None:
            continue
        if isinstance(given, str):
            setattr(message, name, given)
        else:
            getattr(message, name).value = given
    return message
