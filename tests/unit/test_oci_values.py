"""Value classes: to their users, dataclasses."""

from __future__ import annotations

import copy
import dataclasses
import pickle

import pytest

from oci.values import as_dict, fresh, frozen, record, replace


@frozen
class Point:
    x: int
    y: int = 2
    names: list[str] = fresh(default_factory=list)


@frozen
class Pair:
    left: int
    right: int


@record
class Counter:
    count: int = 0


def test_values_are_compared_by_their_fields() -> None:
    assert Pair(left=1, right=2) == Pair(left=1, right=2) != Pair(left=2, right=1)
    assert len({Pair(left=1, right=2), Pair(left=1, right=2)}) == 1
    assert Counter(count=1) != Counter(count=1)
    assert repr(Pair(left=1, right=2)) == "Pair(left=1, right=2)"


def test_defaults_are_made_anew() -> None:
    one, other = Point(x=1), Point(x=1)
    one.names.append("a")
    assert other.names == []
    assert (one.y, as_dict(other)) == (2, {"x": 1, "y": 2, "names": []})


def test_wrong_fields_are_named() -> None:
    with pytest.raises(TypeError, match="Pair: needs right"):
        Pair(left=1)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="Pair: needs right; has no middle"):
        Pair(left=1, middle=2)  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        Pair(1, 2)  # type: ignore[call-arg]


def test_frozen_and_not() -> None:
    with pytest.raises(AttributeError, match=r"Pair.left"):
        Pair(left=1, right=2).left = 3  # type: ignore[misc]
    counter = Counter()
    counter.count += 1
    assert counter.count == 1
    assert counter != Counter(count=1)
    with pytest.raises(AttributeError):
        counter.other = 1  # type: ignore[attr-defined]


def test_the_standard_librarys_functions_work() -> None:
    pair = Pair(left=1, right=2)
    assert dataclasses.is_dataclass(pair)
    assert [item.name for item in dataclasses.fields(Pair)] == ["left", "right"]
    assert dataclasses.replace(pair, left=3) == replace(pair, left=3) == Pair(left=3, right=2)
    assert dataclasses.asdict(pair) == {"left": 1, "right": 2}
    assert pickle.loads(pickle.dumps(pair)) == copy.deepcopy(pair) == pair
