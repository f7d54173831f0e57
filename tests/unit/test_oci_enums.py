"""The light Enum behaves as the standard one does where we use it."""

from __future__ import annotations

import copy
import pickle

import pytest

from oci.handshake.channel import Kind
from oci.handshake.launch import Phase


def test_members_are_found_by_value_and_by_name() -> None:
    assert Kind(b"M") is Kind.MAPPINGS
    assert Kind.MAPPINGS.name == "MAPPINGS"
    assert [phase.value for phase in Phase] == ["setting up", "waiting", "finishing", "executed"]


def test_an_unknown_value_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="is not a valid Kind"):
        Kind(b"?")


def test_a_copy_is_the_member_itself() -> None:
    assert pickle.loads(pickle.dumps(Kind.READY)) is Kind.READY
    assert copy.deepcopy([Kind.READY])[0] is Kind.READY
    assert {Kind.READY: 1}[Kind(b"R")] == 1
