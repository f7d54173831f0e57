"""`contextlib.ExitStack` as the executor uses it, without its module and the six that it brings along.

A command line starts an interpreter for every verb: what it imports is what it costs.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from typing import Any, ParamSpec, TypeVar

    P = ParamSpec("P")
    T = TypeVar("T")


class ExitStack:
    """What was registered last is undone first; all of it, also when some of it fails. Nothing is suppressed."""

    __slots__ = ("_exits",)

    def __init__(self) -> None:
        self._exits: list[Callable[[Any, Any, Any], object]] = []

    def callback(self, function: Callable[P, object], /, *args: P.args, **named: P.kwargs) -> None:
        self._exits.append(lambda *error: function(*args, **named))

    def enter_context(self, manager: AbstractContextManager[T, Any]) -> T:
        entered = manager.__enter__()
        self._exits.append(manager.__exit__)
        return entered

    def pop_all(self) -> ExitStack:
        """Hand everything over to another stack; this one has nothing left to undo."""
        other = ExitStack()
        other._exits, self._exits = self._exits, []
        return other

    def close(self) -> None:
        self.__exit__(None, None, None)

    def __enter__(self) -> ExitStack:
        return self

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        failed = None
        while self._exits:
            try:
                self._exits.pop()(kind, error, traceback)
            except BaseException as another:
                failed = another
        if failed is not None:
            raise failed
