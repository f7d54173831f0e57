from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cri.state.machine import (
    CONTAINER_TRANSITIONS,
    SANDBOX_TRANSITIONS,
    ContainerState,
    Event,
    IllegalTransition,
    SandboxState,
    next_container_state,
    next_sandbox_state,
)


def test_every_state_has_a_row() -> None:
    assert set(SANDBOX_TRANSITIONS) == set(SandboxState)
    assert set(CONTAINER_TRANSITIONS) == set(ContainerState)


def test_everything_that_exists_can_be_removed() -> None:
    assert all(Event.REMOVE in row for row in SANDBOX_TRANSITIONS.values())
    assert all(Event.REMOVE in row for row in CONTAINER_TRANSITIONS.values())


@given(st.lists(st.sampled_from(Event)))
def test_no_sequence_of_events_leaves_the_table_or_revives_a_container(events: list[Event]) -> None:
    order = list(ContainerState)
    state = ContainerState.CREATING
    for event in events:
        following = CONTAINER_TRANSITIONS[state].get(event)
        if following is None:
            with pytest.raises(IllegalTransition) as refused:
                next_container_state("container x", state, event)
            assert (refused.value.state, refused.value.event) == (state, event)
        else:
            assert next_container_state("container x", state, event) is following
            assert order.index(following) >= order.index(state)
            state = following


@given(st.lists(st.sampled_from(Event)))
def test_a_sandbox_that_is_being_removed_stays_so(events: list[Event]) -> None:
    state = SandboxState.REMOVING
    for event in events:
        try:
            state = next_sandbox_state("sandbox x", state, event)
        except IllegalTransition:
            continue
        assert state is SandboxState.REMOVING


def test_an_illegal_move_says_what_is_in_which_state() -> None:
    with pytest.raises(IllegalTransition, match="container abc is exited: cannot be started"):
        next_container_state("container abc", ContainerState.EXITED, Event.STARTED)
