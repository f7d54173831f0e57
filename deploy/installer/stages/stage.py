"""What every stage can do, and the two forms of most: effects carried out through the journal, or a check alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from deploy.installer.context import Context
from deploy.installer.effects import Effect, carry_out
from deploy.installer.undo import describe as describe_undo
from deploy.installer.undo import undo


class Stage(Protocol):
    @property
    def name(self) -> str: ...

    def describe(self, context: Context) -> list[str]:
        """What `apply` would do now, a line for each step; nothing when it is done."""

    def check(self, context: Context) -> None:
        """Raises Refused when the node is not fit for this stage. Changes nothing."""

    def apply(self, context: Context) -> bool:
        """Whether anything was done. Repeatable."""

    def describe_undo(self, context: Context) -> list[str]: ...

    def undo(self, context: Context) -> list[str]:
        """What the operator has to know. Repeatable."""


class EffectStage:
    name = ""

    def effects(self, context: Context) -> Iterator[Effect]:
        raise NotImplementedError

    def check(self, context: Context) -> None:
        """Most stages ask for nothing beyond what the host check asked."""

    def describe(self, context: Context) -> list[str]:
        return [effect.describe() for effect in self.effects(context) if not effect.holds(context.doors)]

    def apply(self, context: Context) -> bool:
        done = [carry_out(effect, self.name, context.doors) for effect in self.effects(context)]
        return any(done)

    def describe_undo(self, context: Context) -> list[str]:
        return [describe_undo(record) for record in reversed(context.journal.standing(self.name))]

    def undo(self, context: Context) -> list[str]:
        return undo(context.journal.standing(self.name), context.doors)


class CheckStage:
    """Only asks whether the node is fit: there is nothing to do, and nothing to undo."""

    name = ""

    def check(self, context: Context) -> None:
        raise NotImplementedError

    def describe(self, context: Context) -> list[str]:
        return []

    def apply(self, context: Context) -> bool:
        return False

    def describe_undo(self, context: Context) -> list[str]:
        return []

    def undo(self, context: Context) -> list[str]:
        return []
