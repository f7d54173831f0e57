"""Command line options made from the settings' schema, and settings read with them.

The variables are read by `cri.config`, not by click, so that flags, variables and files meet in one place.
"""

from __future__ import annotations

import enum
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from cri.cli.messages import fail
from cri.config import DEFAULT_CONFIG, KEYS, ConfigError, Key, Settings, load_settings

F = TypeVar("F", bound=Callable[..., Any])

#: What a verb that only talks to a daemon needs to know to find it.
ADDRESS_KEYS: Final = tuple(key for key in KEYS if key.dotted in ("listen", "runroot"))

_METAVARS: Final = {bool: "true|false", int: "NUMBER", float: "NUMBER", str: "TEXT", Path: "PATH"}


def settings_options(keys: Iterable[Key] = KEYS) -> Callable[[F], F]:
    """Adds --config and an option per key; the command passes what it gets for them to `read_settings`."""

    def decorate(command: F) -> F:
        for key in reversed(tuple(keys)):
            command = _option(key)(command)
        help = f"Configuration file, with drop-ins in FILE.d.  [default: {DEFAULT_CONFIG}, if there]"
        return click.option("--config", "config_file", metavar="FILE", type=click.Path(path_type=Path), help=help)(
            command
        )

    return decorate


def _option(key: Key) -> Callable[[F], F]:
    kind = key.item_type
    metavar = "|".join(str(m.value) for m in kind) if issubclass(kind, enum.Enum) else _METAVARS[kind]
    return click.option(
        key.flag, _parameter(key), metavar=f"{metavar}{',...' if key.is_list else ''}", multiple=True, help=key.help
    )


def _parameter(key: Key) -> str:
    return "setting_" + "_".join(key.path)


def read_settings(config_file: Path | None, **options: Sequence[str]) -> Settings:
    """From the arguments that `settings_options` adds. Ends the program with a message when they are wrong."""
    try:
        return load(config_file, **options)
    except ConfigError as error:
        fail(str(error))


def load(config_file: Path | None, **options: Sequence[str]) -> Settings:
    """The same, for a program that goes on: raises ConfigError."""
    return load_settings(config_file, os.environ, flag_texts(options))


def flag_texts(options: Mapping[str, Sequence[str]]) -> dict[str, Sequence[str]]:
    return {key.flag: options[_parameter(key)] for key in KEYS if _parameter(key) in options}
