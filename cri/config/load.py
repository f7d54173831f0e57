"""Puts the settings together: defaults < file < drop-ins in the order of their names < variables < flags.

The file is TOML; its drop-ins are the `*.toml` in the directory `<file>.d`. A later source replaces a whole value
(lists are not joined). An unknown key or a value of the wrong type is an error that names the key and the file: a
daemon that runs with less than what was asked for is worse than one that does not start.

Unknown CORACLE_* variables are no error: other programs, and Kubernetes for a Service called coracle, make them, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from cri.config import checks, values
from cri.config.errors import ConfigError
from cri.config.schema import (
    HANDLER_KEYS,
    HANDLERS_TABLE,
    KEYS,
    HandlerSettings,
    Key,
    Settings,
    with_derived,
    with_value,
)

DEFAULT_CONFIG: Final = Path("/etc/coracle/coracle.toml")
CONFIG_VARIABLE: Final = "CORACLE_CONFIG"

_BY_PATH: Final = {key.path: key for key in KEYS}
_HANDLER_BY_NAME: Final = {key.path[0]: key for key in HANDLER_KEYS if key.path != ("name",)}
_TABLES: Final = {key.path[:depth] for key in KEYS for depth in range(1, len(key.path))} | {HANDLERS_TABLE}


@dataclass(slots=True)
class _Collected:
    """What the sources said so far, each value with the source that said it."""

    values: dict[tuple[str, ...], tuple[object, str]] = field(default_factory=dict)
    handlers: dict[str, dict[str, object]] = field(default_factory=dict)

    def put(self, key: Key, value: object, source: str) -> None:
        problem = key.check(value) if key.check else ""
        if problem:
            raise ConfigError(source, key.dotted, problem)
        self.values[key.path] = (value, source)


def load_settings(config: Path | None, variables: Mapping[str, str], flags: Mapping[str, Sequence[str]]) -> Settings:
    """The settings in force. `flags` maps a flag (`--root`) to the texts given for it. Raises ConfigError.

    `config` or CORACLE_CONFIG must exist when given; the default file may be absent.
    """
    collected = _Collected()
    named = config or (Path(variables[CONFIG_VARIABLE]) if variables.get(CONFIG_VARIABLE) else None)
    for file in _files(named):
        _collect_table(_parse(file), (), str(file), collected)
    for key in KEYS:
        if key.variable in variables:
            collected.put(key, values.from_texts(key, [variables[key.variable]], key.variable), key.variable)
        if flags.get(key.flag):
            collected.put(key, values.from_texts(key, flags[key.flag], key.flag), key.flag)
    return _assemble(collected)


def _files(named: Path | None) -> list[Path]:
    main = named or DEFAULT_CONFIG
    if not main.is_file():
        if named is not None:
            raise ConfigError(str(named), "", "no such file")
        present = []
    else:
        present = [main]
    return present + sorted(main.with_name(main.name + ".d").glob("*.toml"))


def _parse(file: Path) -> dict[str, Any]:
    import tomllib

    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(str(file), "", f"not valid TOML: {error}") from error
    except OSError as error:
        raise ConfigError(str(file), "", error.strerror or str(error)) from error


def _collect_table(table: dict[str, Any], path: tuple[str, ...], source: str, collected: _Collected) -> None:
    for name, value in table.items():
        here = (*path, name)
        if here in _BY_PATH:
            key = _BY_PATH[here]
            collected.put(key, values.from_toml(key, value, source), source)
        elif here in _TABLES:
            if not isinstance(value, dict):
                raise ConfigError(source, ".".join(here), "is a table, not a value")
            if here == HANDLERS_TABLE:
                _collect_handlers(value, source, collected)
            else:
                _collect_table(value, here, source, collected)
        else:
            raise _unknown(source, here, [other[-1] for other in (*_BY_PATH, *_TABLES) if other[:-1] == path])


def _collect_handlers(table: dict[str, Any], source: str, collected: _Collected) -> None:
    for name, keys in table.items():
        here = (*HANDLERS_TABLE, name)
        problem = values.problem_with_handler_name(name)
        if problem or not isinstance(keys, dict):
            raise ConfigError(source, ".".join(here), problem or "is a table, not a value")
        handler = collected.handlers.setdefault(name, {})
        for key_name, value in keys.items():
            if key_name not in _HANDLER_BY_NAME:
                raise _unknown(source, (*here, key_name), list(_HANDLER_BY_NAME))
            key = _HANDLER_BY_NAME[key_name]
            handler[key_name] = values.from_toml(key, value, source)
            if key.check and (problem := key.check(handler[key_name])):
                raise ConfigError(source, ".".join((*here, key_name)), problem)
        if "path" not in handler:
            raise ConfigError(source, ".".join((*here, "path")), "is required")


def _unknown(source: str, path: tuple[str, ...], siblings: list[str]) -> ConfigError:
    import difflib

    alike = difflib.get_close_matches(path[-1], siblings, n=1)
    return ConfigError(source, ".".join(path), "unknown key" + (f", perhaps {alike[0]!r} is meant" if alike else ""))


def _assemble(collected: _Collected) -> Settings:
    settings = Settings()
    for path, (value, _) in collected.values.items():
        settings = with_value(settings, path, value)
    handlers = tuple(
        HandlerSettings(name=name, **keys)  # type: ignore[arg-type]  # typed by from_toml, against the same schema
        for name, keys in sorted(collected.handlers.items())
    )
    settings = with_derived(with_value(settings, HANDLERS_TABLE, handlers))
    _check_together(settings, {path: source for path, (_, source) in collected.values.items()})
    return settings


def _check_together(settings: Settings, sources: Mapping[tuple[str, ...], str]) -> None:
    """What no value shows alone."""
    root, runroot = settings.root, settings.runroot
    if root == runroot or root in runroot.parents or runroot in root.parents:
        source = sources.get(("runroot",)) or sources.get(("root",), "")
        raise ConfigError(source, "runroot", f"{runroot} and the root {root} must not contain each other")
    if problem := checks.unix_address(settings.listen):
        raise ConfigError(sources.get(("runroot",), ""), "listen", f"{problem}; name one with a short path")
    families = ["6" if ":" in subnet else "4" for subnet in settings.network.subnets]
    if len(set(families)) != len(families):
        raise ConfigError(
            sources.get(("network", "subnets"), ""), "network.subnets", "two ranges of one address family"
        )
