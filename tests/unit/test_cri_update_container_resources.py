from __future__ import annotations

import pytest

from cri.api import runtime_pb2 as api
from cri.runtime_service.update_container_resources import with_swap


def resources(memory: int = 0, swap: int = 0) -> api.LinuxContainerResources:
    return api.LinuxContainerResources(memory_limit_in_bytes=memory, memory_swap_limit_in_bytes=swap)


@pytest.mark.parametrize(
    ("current", "update", "swap"),
    [
        ((64, 64), (128, 0), 128),  # no swap stays no swap
        ((64, 64), (32, 0), 32),
        ((64, 100), (80, 0), 100),
        ((64, 100), (128, 0), 128),  # never less than the memory
        ((64, -1), (128, 0), -1),
        ((64, 0), (128, 0), 0),  # none in force: none is made
        ((64, 64), (0, 0), 0),
        ((64, 64), (32, 40), 40),  # said is said
    ],
)
def test_a_swap_limit_follows_the_memory_limit(current: tuple[int, int], update: tuple[int, int], swap: int) -> None:
    asked = resources(*update)
    assert with_swap(resources(*current), asked) == resources(update[0], swap)
    assert asked == resources(*update)
