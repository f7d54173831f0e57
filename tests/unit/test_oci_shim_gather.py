"""`oci.shim.gather`: what was called is made anew and behaves as before; holes are filled up to fresh pools."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

from oci.shim.gather import fill_holes, gather, watch

SOURCE = """
def plain(a, *, b=2):
    return a + b

def outer():
    return [plain(one) for one in (1, 2)]

def cold():
    return "cold"

class Thing:
    def method(self):
        return self.other() + 1

    def other(self):
        return 1
"""


@pytest.fixture
def module() -> Iterator[Any]:
    made = ModuleType("oci.gathered_for_test")
    sys.modules[made.__name__] = made
    exec(SOURCE, made.__dict__)
    yield made
    del sys.modules[made.__name__]


def life(module: Any) -> None:
    module.outer()
    module.Thing().method()


def test_what_is_called_is_watched_in_order(module: Any) -> None:
    names = [code.co_qualname for code in watch(lambda: life(module))]
    wanted = ["outer", "outer.<locals>.<listcomp>", "plain", "Thing.method", "Thing.other"]
    assert [name for name in names if name in wanted] == wanted


def test_functions_are_new_and_do_the_same(module: Any) -> None:
    before = {name: getattr(module, name) for name in ("plain", "outer", "cold")}
    gather(watch(lambda: life(module)))
    assert module.outer() == [3, 4]
    assert module.plain(1, b=5) == 6
    assert module.Thing().method() == 2
    assert module.plain is not before["plain"]
    assert module.plain.__qualname__ == "plain"
    assert module.cold is before["cold"]


def test_the_old_function_has_the_new_code(module: Any) -> None:
    old, code = module.plain, module.plain.__code__
    gather(watch(lambda: life(module)))
    assert old.__code__ is module.plain.__code__
    assert old.__code__ is not code


def test_ballast_ends() -> None:
    ballast = fill_holes()
    assert {len(one) + 33 for one in ballast} == set(range(48, 513, 16))
