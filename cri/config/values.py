"""From TOML values, and from the texts of variables and flags, to typed values.

Everything here raises ConfigError naming the source and the key.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from pathlib import Path

from cri.config import checks
from cri.config.errors import ConfigError
from cri.config.schema import Key

_WORDS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_NAMES: dict[type[object], str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    Path: "a text",
}


def from_toml(key: Key, value: object, source: str) -> object:
    if not key.is_list:
        return _item_from_toml(key, value, source)
    if not isinstance(value, list):
        raise ConfigError(source, key.dotted, f"must be a list, is {value!r}")
    return tuple(_item_from_toml(key, item, source) for item in value)


def from_texts(key: Key, texts: Sequence[str], source: str) -> object:
    """A list is given by several texts, by commas, or both; an empty text alone is the empty list."""
    if not key.is_list:
        return _item_from_text(key, texts[-1], source)
    items = [item.strip() for text in texts for item in text.split(",")]
    return tuple(_item_from_text(key, item, source) for item in items if item)


def problem_with_handler_name(name: str) -> str:
    return checks.handler_name(name)


def _item_from_toml(key: Key, value: object, source: str) -> object:
    kind = key.item_type
    if issubclass(kind, enum.Enum):
        return _choice(key, value, source)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    wanted = str if kind is Path else kind
    if type(value) is not wanted:
        raise ConfigError(source, key.dotted, f"must be {_NAMES[kind]}, is {value!r}")
    return _path(key, value, source) if kind is Path and isinstance(value, str) else value


def _item_from_text(key: Key, text: str, source: str) -> object:
    kind = key.item_type
    if issubclass(kind, enum.Enum):
        return _choice(key, text, source)
    if kind is bool:
        if text.lower() not in _WORDS:
            raise ConfigError(source, key.dotted, f"must be true or false, is {text!r}")
        return _WORDS[text.lower()]
    if kind is Path:
        return _path(key, text, source)
    try:
        return kind(text)
    except ValueError:
        raise ConfigError(source, key.dotted, f"must be {_NAMES[kind]}, is {text!r}") from None


def _path(key: Key, text: str, source: str) -> Path:
    """An empty text is the empty path, which means "none" and which "." must not be taken for."""
    path = Path(text)
    if (text and path == Path()) or "\0" in text:
        raise ConfigError(source, key.dotted, f"{text!r} is not an absolute path")
    return path


def _choice(key: Key, value: object, source: str) -> object:
    choices = [str(member.value) for member in key.item_type]
    if value not in choices:
        raise ConfigError(source, key.dotted, f"must be one of {', '.join(choices)}, is {value!r}")
    return key.item_type(value)
