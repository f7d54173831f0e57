"""What was registered last is undone first, and all of it."""

from __future__ import annotations

import pytest

from oci.exits import ExitStack


def test_order_and_arguments() -> None:
    seen: list[object] = []
    with ExitStack() as stack:
        stack.callback(seen.append, 1)
        inner = stack.enter_context(ExitStack())
        inner.callback(seen.append, 2)
        stack.callback(seen.append, 3)
    assert seen == [3, 2, 1]


def test_a_failure_keeps_nothing_from_being_undone_and_hides_no_error() -> None:
    seen: list[object] = []

    def fail() -> None:
        raise OSError("late")

    stack = ExitStack()
    stack.callback(seen.append, 1)
    stack.callback(fail)
    with pytest.raises(OSError, match="late"), stack:
        raise ValueError("early")
    assert seen == [1]


def test_what_was_handed_over_is_not_undone_here() -> None:
    seen: list[object] = []
    with ExitStack() as stack:
        stack.callback(seen.append, 1)
        other = stack.pop_all()
    assert seen == []
    other.close()
    assert seen == [1]
