"""JSON by the C half of the standard library's module: `json` itself imports `re`, and with it half a dozen others.

What the C scanner refuses is given to `json`, which then says what is wrong with it.
"""

from __future__ import annotations

import _json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class _Plain:
    """What the scanner asks its context for."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = float  # NaN, Infinity and -Infinity, which json.loads takes, too


_context: Any = _Plain()
_scan: Any = _json.make_scanner(_context)
_SPACE = " \t\n\r"


def loads(content: str | bytes) -> Any:
    """As `json.loads`; raises ValueError, or RecursionError for one that is nested too deeply."""
    text = content if isinstance(content, str) else content.decode("utf-8", "surrogatepass")
    start = len(text) - len(text.lstrip(_SPACE))
    try:
        value, end = _scan(text, start)
    except StopIteration:
        end, value = -1, None
    if end < 0 or text[end:].strip(_SPACE):
        import json

        return json.loads(text)
    return value


def dumps(value: object) -> str:
    """As `json.dumps` without arguments."""
    encode: Any = _json.make_encoder({}, _refuse, _json.encode_basestring_ascii, None, ": ", ", ", False, False, True)
    return "".join(encode(value, 0))


def dumps_indented(value: Any, margin: str = "") -> str:
    """As `json.dumps(value, indent=2)`, for documents made of dicts with text keys, lists and scalars."""
    inner = margin + "  "
    if isinstance(value, dict) and value:
        entries = [f"{dumps(key)}: {dumps_indented(entry, inner)}" for key, entry in value.items()]
        brackets = "{}"
    elif isinstance(value, (list, tuple)) and value:
        entries = [dumps_indented(entry, inner) for entry in value]
        brackets = "[]"
    else:
        return dumps(value)
    lines = f",\n{inner}".join(entries)
    return f"{brackets[0]}\n{inner}{lines}\n{margin}{brackets[1]}"


def _refuse(value: object) -> object:
    raise TypeError(f"object of type {type(value).__name__} is not JSON serializable")
