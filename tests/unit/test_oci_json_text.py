"""Our JSON is the standard library's, in result and in complaint."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oci import json_text

_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(_VALUES)
def test_values_are_written_and_read_as_by_json(value: object) -> None:
    assert json_text.dumps(value) == json.dumps(value)
    assert json_text.dumps_indented(value) == json.dumps(value, indent=2)
    assert json_text.loads(json.dumps(value)) == value
    assert json_text.loads(json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")) == value


@given(st.text(alphabet='{}[]",:0123456789truefalsn \\u\n-+.eE'))
def test_what_is_no_json_is_refused_alike(text: str) -> None:
    try:
        expected = repr(json.loads(text))
    except (ValueError, RecursionError) as error:
        expected = str(error)
    try:
        found = repr(json_text.loads(text))
    except (ValueError, RecursionError) as error:
        found = str(error)
    assert found == expected


def test_bytes_that_are_no_text_are_a_value_error() -> None:
    with pytest.raises(ValueError, match="decode"):
        json_text.loads(b'"\xff"')


def test_what_json_cannot_hold_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="set"):
        json_text.dumps({"a": {1}})
