"""Pulls under way, as values for whoever watches."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, MutableSequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

_INTERVAL_S: Final = 0.1


class Phase(Enum):
    WAITING = "waiting"
    FETCHING = "fetching"
    RETRYING = "retrying"
    DONE = "done"
    REUSED = "reused"  # was on this node already


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerProgress:
    """`size_bytes` as the manifest states it."""

    digest: str
    phase: Phase
    fetched_bytes: int
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PullProgress:
    """`image` is the reference in full; without layers as long as the registry has not said what they are."""

    image: str
    layers: tuple[LayerProgress, ...] = ()


Listener = Callable[[PullProgress], None]


class PullWatch:
    """One pull's progress, and who listens to it."""

    def __init__(self, image: str, board: ProgressBoard) -> None:
        self._image = image
        self._board = board
        self._layers: dict[int, LayerProgress] = {}
        self.listeners: MutableSequence[Listener] = []

    @property
    def now(self) -> PullProgress:
        return PullProgress(image=self._image, layers=tuple(self._layers.values()))

    def set(self, position: int, layer: LayerProgress) -> None:
        """`position` is the layer's in the image; the same digest may come twice."""
        self._layers[position] = layer
        if self.listeners:
            now = self.now
            for listener in self.listeners:
                listener(now)
        self._board.moved()


class ProgressBoard:
    """All pulls under way."""

    def __init__(self) -> None:
        self._pulls: list[PullWatch] = []
        self._moved = asyncio.Event()

    def begin(self, image: str) -> PullWatch:
        watch = PullWatch(image, self)
        self._pulls.append(watch)
        self.moved()
        return watch

    def end(self, watch: PullWatch) -> None:
        self._pulls.remove(watch)
        self.moved()

    def moved(self) -> None:
        self._moved.set()
        self._moved = asyncio.Event()

    async def watch(self) -> AsyncIterator[tuple[PullProgress, ...]]:
        """All pulls now, and again whenever something moved, ten times a second at most; never ends by itself."""
        while True:
            moved = self._moved
            yield tuple(watch.now for watch in self._pulls)
            await asyncio.sleep(_INTERVAL_S)
            await moved.wait()
