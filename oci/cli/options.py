"""Command lines in the manner of runc: options before and after the container's id. A hand-written loop, because
argparse alone takes longer to import than most of our verbs run.

    --name value, --name=value, -n value, -nvalue       an option with a value
    --name, -n, --name=true, --name=false               a switch
    --                                                  ends the options
"""

from __future__ import annotations

from oci.values import fresh, frozen, record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class UsageError(Exception):
    """The command line is wrong: its writer's fault."""


@frozen
class Option:
    """`names` without dashes, the long one first; `metavar` is empty for a switch."""

    names: tuple[str, ...]
    help: str
    metavar: str = ""


@record
class Parsed:
    values: dict[str, list[str]] = fresh(default_factory=dict)
    words: list[str] = fresh(default_factory=list)

    def text(self, name: str, default: str = "") -> str:
        given = self.values.get(name)
        return given[-1] if given else default

    def texts(self, name: str) -> list[str]:
        return self.values.get(name, [])

    def switch(self, name: str) -> bool:
        return self.text(name) == "true"

    def number(self, name: str, default: int = 0) -> int:
        text = self.text(name)
        if not text:
            return default
        if not (text.isascii() and text.isdigit()):
            raise UsageError(f"--{name} wants a number, not {text!r}")
        return int(text)


def switch(names: str, help: str) -> Option:
    return Option(names=tuple(names.split()), help=help)


def value(names: str, metavar: str, help: str) -> Option:
    return Option(names=tuple(names.split()), help=help, metavar=metavar)


def parse(arguments: Sequence[str], options: Iterable[Option], *, words: int | None = None) -> Parsed:
    """After `words` words everything is taken literally: a command with options of its own. None: no such limit."""
    table = {name: option for option in options for name in option.names}
    parsed = Parsed()
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        if argument == "--":
            parsed.words += rest
            break
        if len(argument) > 1 and argument.startswith("-"):
            _option(argument, rest, table, parsed)
            continue
        parsed.words.append(argument)
        if words is not None and len(parsed.words) >= words:
            parsed.words += rest
            break
    return parsed


def _option(argument: str, rest: list[str], table: dict[str, Option], parsed: Parsed) -> None:
    name, equals, attached = argument.lstrip("-").partition("=")
    option = table.get(name)
    if option is None and not argument.startswith("--") and argument[1] in table and table[argument[1]].metavar:
        name, attached, equals = argument[1], argument[2:], "="
        option = table[name]
    if option is None:
        raise UsageError(f"unknown option {argument.partition('=')[0]}")
    given = parsed.values.setdefault(option.names[0], [])
    if not option.metavar:
        if equals and attached not in ("true", "false"):
            raise UsageError(f"option --{option.names[0]} is a switch, {attached!r} is not true or false")
        given.append(attached if equals else "true")
    elif equals:
        given.append(attached)
    elif rest:
        given.append(rest.pop(0))
    else:
        raise UsageError(f"option --{option.names[0]} needs a value")


def describe(options: Iterable[Option]) -> str:
    lines = []
    for option in options:
        names = ", ".join(("--" if len(name) > 1 else "-") + name for name in option.names)
        left = f"{names} {option.metavar}".rstrip()
        lines.append(f"   {left:34} {option.help}")
    return "\n".join(lines)
