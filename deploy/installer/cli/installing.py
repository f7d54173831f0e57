"""What `install` and `switch` share: an order, read from the command line, and its first half, the daemon."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from deploy.installer import install
from deploy.installer.cli.options import (
    PREFIX,
    Place,
    open_context,
    place_options,
    plan_option,
    report,
    show_plan,
    stay_option,
)
from deploy.installer.context import Context, SwitchSettings

F = TypeVar("F", bound=Callable[..., Any])

_payload_option: Final = click.option(
    "--payload",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("/payload"),
    show_default=True,
    envvar=f"{PREFIX}_PAYLOAD",
    help="The build to install: an unpacked bundle.",
)
_config_option: Final = click.option(
    "--config",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    envvar=f"{PREFIX}_CONFIG",
    help="Settings of the daemon (TOML), installed as a drop-in.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    place: Place
    payload: Path
    config: Path | None
    plan: bool
    """Only say what would be done."""
    stay: str | None
    """Where to serve afterwards."""


def order_options(command: F) -> F:
    """Those of `place_options`, and --payload, --config, --plan and --stay; the verb gets them as one `order`."""

    @functools.wraps(command)
    def with_order(
        *args: Any, place: Place, payload: Path, config: Path | None, plan: bool, stay: str | None, **options: Any
    ) -> Any:
        order = Order(place=place, payload=payload, config=config, plan=plan, stay=stay)
        return command(*args, order=order, **options)

    made: Any = with_order
    for option in (stay_option, plan_option, _config_option, _payload_option, place_options):
        made = option(made)
    return made  # type: ignore[no-any-return]  # the same callable for click, with one argument for all of these


def install_daemon(order: Order, verb: str, switch: SwitchSettings | None = None) -> Context | None:
    """The daemon is installed and runs; what `verb` does beyond that is the caller's.

    With --plan nothing is done: the whole plan of `verb` is shown, and the answer is None.
    """
    context = open_context(order.place, payload=order.payload, config=order.config, switch=switch)
    if order.plan:
        show_plan(install.plan(context, verb))
        return None
    install.install(context, report)
    return context
