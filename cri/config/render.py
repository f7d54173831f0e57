"""Prints settings as a commented TOML file that `load` reads back to the same settings."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from cri.config.schema import HANDLER_KEYS, KEYS, Key, Settings, value_at

_WIDTH: Final = 100
_ESCAPES: Final = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r", "\b": "\\b", "\f": "\\f"}


def render(settings: Settings) -> str:
    lines: list[str] = []
    table: tuple[str, ...] = ()
    for key in KEYS:
        if key.path[:-1] != table:
            table = key.path[:-1]
            lines += [f"[{'.'.join(table)}]", ""]
        lines += [*_comment(key), f"{key.path[-1]} = {_toml(value_at(settings, key.path))}", ""]
    for handler in settings.runtime.handlers:
        lines.append(f"[runtime.handlers.{handler.name}]")
        lines += [
            f"{key.path[0]} = {_toml(value_at(handler, key.path))}" for key in HANDLER_KEYS if key.path != ("name",)
        ]
        lines.append("")
    return "\n".join(lines)


def _comment(key: Key) -> list[str]:
    import textwrap

    text = f"{key.help} ({key.flag}, {key.variable})"
    return textwrap.wrap(text, _WIDTH, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml, value))}]"
    text = "" if value == Path() else str(value)
    return '"' + "".join(map(_escaped, text)) + '"'


def _escaped(character: str) -> str:
    if character < " " or character == "\x7f":
        return _ESCAPES.get(character, f"\\u{ord(character):04x}")
    return _ESCAPES.get(character, character)
