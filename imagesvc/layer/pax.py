"""Extended headers of pax archives (POSIX pax, "pax Extended Header"): records `LENGTH KEY=VALUE\\n`. Pure."""

from __future__ import annotations

from imagesvc.layer.errors import CorruptLayer

_NANOSECONDS = 1_000_000_000


def parse_pax(content: bytes) -> dict[bytes, bytes]:
    """A later record wins over an earlier one. Raises CorruptLayer."""
    records: dict[bytes, bytes] = {}
    position, end = 0, len(content)
    while position < end:
        if content[position] == 0:
            break  # some writers pad with zeros and count the padding
        space = content.find(b" ", position, position + 20)
        digits = content[position:space]
        if space < 0 or not digits.isdigit():
            raise CorruptLayer("a pax header has a record without a length")
        stop = position + int(digits)
        if stop > end or stop < space + 3 or content[stop - 1] != 0x0A:
            raise CorruptLayer("a pax header has a record of the wrong length")
        key, equals, value = content[space + 1 : stop - 1].partition(b"=")
        if not equals or not key:
            raise CorruptLayer("a pax header has a record without a key")
        records[key] = value
        position = stop
    return records


def decimal(value: bytes, key: str) -> int:
    if not value.isdigit() or len(value) > 20:
        raise CorruptLayer(f"a pax header has {value[:40]!r} for {key}")
    return int(value)


def time(value: bytes) -> tuple[int, int]:
    """(seconds, nanoseconds) of a decimal time, which may be negative and may have any number of decimals."""
    whole, _, fraction = value.partition(b".")
    negative = whole.startswith(b"-")
    digits = whole[1:] if negative else whole
    if not (digits or fraction) or not (digits or b"0").isdigit() or len(digits) > 19:
        raise CorruptLayer(f"a pax header has {value[:40]!r} for a time")
    if fraction and not fraction.isdigit():
        raise CorruptLayer(f"a pax header has {value[:40]!r} for a time")
    nanoseconds = int(digits or b"0") * _NANOSECONDS + int((fraction + b"000000000")[:9])
    return divmod(-nanoseconds if negative else nanoseconds, _NANOSECONDS)
