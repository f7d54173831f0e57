"""Single settings changed inside files that others write too, and taken back again. Pure: text in, text out.

Two styles: `env:VARIABLE`, a command line flag in a variable of a systemd environment file (VARIABLE="--a=b --c"), and
`yaml`, a top-level key with a plain value in the kubelet's configuration. All other bytes stay as they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from deploy.installer.errors import Refused
from deploy.installer.journal import Edit

_ENV: Final = "env:"
_YAML: Final = "yaml"


def set_flags(text: str, variable: str, flags: Mapping[str, str]) -> tuple[str, tuple[Edit, ...]]:
    """`--flag=value` for each of `flags` in the variable's value; the variable is added when it is missing.

    Raises Refused for an assignment that goes on in the next line.
    """
    edits = []
    for flag, value in flags.items():
        old = flag_of(variable_of(text, variable), flag)
        edits.append(Edit(style=_ENV + variable, key=flag, old=old, new=value))
        text = _with_flag(text, variable, flag, value)
    return text, tuple(edits)


def set_key(text: str, key: str, value: str) -> tuple[str, tuple[Edit, ...]]:
    """The plain value of a top-level key that is there; nothing changes when it is not, or empty."""
    old = key_of(text, key)
    if old is None or old.strip("\"'") == "":
        return text, ()
    return _with_key(text, key, value), (Edit(style=_YAML, key=key, old=old, new=value),)


def take_back(text: str, edits: Iterable[Edit]) -> str:
    """The same text with each edit's old value, where ours is still what is set."""
    for edit in reversed(list(edits)):
        if edit.style == _YAML:
            if key_of(text, edit.key) == edit.new and edit.old is not None:
                text = _with_key(text, edit.key, edit.old)
            continue
        variable = edit.style.removeprefix(_ENV)
        if flag_of(variable_of(text, variable), edit.key) == edit.new:
            text = _with_flag(text, variable, edit.key, edit.old)
    return text


def variable_of(text: str, variable: str) -> str:
    """The value that systemd would read: of the last assignment, without its quotes."""
    found = _assignments(text, variable)
    return _unquoted(found[-1].group("value")) if found else ""


def flag_of(arguments: str, flag: str) -> str | None:
    """The last value of a flag, written `--flag=value` or `--flag value`."""
    value = None
    tokens = arguments.split()
    for position, token in enumerate(tokens):
        if token.startswith(f"{flag}="):
            value = token.partition("=")[2]
        elif token == flag and position + 1 < len(tokens):
            value = tokens[position + 1]
    return value


def with_flag(arguments: str, flag: str, value: str | None) -> str:
    """The arguments with one `--flag=value` in the place of its last; without the flag for None."""
    if value is None and flag_of(arguments, flag) is None:
        return arguments
    tokens, position = arguments.split(), 0
    kept: list[str] = []
    place: int | None = None
    while position < len(tokens):
        token = tokens[position]
        if token == flag and position + 1 < len(tokens):
            place, position = len(kept), position + 2
            continue
        if token.startswith(f"{flag}="):
            place, position = len(kept), position + 1
            continue
        kept.append(token)
        position += 1
    if value is not None:
        kept.insert(len(kept) if place is None else place, f"{flag}={value}")
    return " ".join(kept)


def key_of(text: str, key: str) -> str | None:
    """The text after `key:` at the beginning of a line, as it is written."""
    found = re.search(rf"^{re.escape(key)}:[ \t]*(.*?)[ \t]*$", text, re.MULTILINE)
    return found.group(1) if found else None


def _with_key(text: str, key: str, value: str) -> str:
    return re.sub(rf"^({re.escape(key)}:[ \t]*).*$", lambda found: found.group(1) + value, text, flags=re.MULTILINE)


def _with_flag(text: str, variable: str, flag: str, value: str | None) -> str:
    found = _assignments(text, variable)
    if not found:
        if value is None:
            return text
        end = "" if not text or text.endswith("\n") else "\n"
        return f'{text}{end}{variable}="{flag}={value}"\n'
    last = found[-1]
    raw = last.group("value")
    if raw.endswith("\\"):
        raise Refused(f"{variable} goes on in a second line", "write it in one line, then try again")
    quote = raw[0] if raw[:1] in ('"', "'") and raw.endswith(raw[0]) and len(raw) > 1 else ""
    changed = with_flag(_unquoted(raw), flag, value)
    return f"{text[: last.start('value')]}{quote}{changed}{quote}{text[last.end('value') :]}"


def _assignments(text: str, variable: str) -> list[re.Match[str]]:
    return list(re.finditer(rf"^[ \t]*{re.escape(variable)}=(?P<value>.*?)[ \t\r]*$", text, re.MULTILINE))


def _unquoted(value: str) -> str:
    if len(value) > 1 and value[0] in ('"', "'") and value[-1] == value[0]:
        return value[1:-1]
    return value
