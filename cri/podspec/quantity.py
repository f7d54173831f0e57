"""Kubernetes quantities: a decimal number with a suffix, as in resource.Quantity of apimachinery."""

from __future__ import annotations

import re
from decimal import ROUND_CEILING, Decimal
from typing import Final

_PATTERN: Final = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:([KMGTPE]i)|([mkMGTPE])|[eE]([+-]?[0-9]{1,2}))?")
_BINARY: Final = {f"{letter}i": Decimal(1024) ** power for power, letter in enumerate("KMGTPE", 1)}
_DECIMAL: Final = {"m": Decimal("0.001")} | {letter: Decimal(1000) ** power for power, letter in enumerate("kMGTPE", 1)}


def parse(text: str) -> Decimal:
    """Raises ValueError for what is no quantity; negative ones are none here."""
    match = _PATTERN.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a quantity")
    number, binary, decimal, exponent = match.groups()
    value = Decimal(number)
    if binary:
        return value * _BINARY[binary]
    if decimal:
        return value * _DECIMAL[decimal]
    return value.scaleb(int(exponent)) if exponent else value


def to_bytes(text: str) -> int:
    return int(parse(text).to_integral_value(ROUND_CEILING))


def to_millis(text: str) -> int:
    """Thousandths, rounded up as Kubernetes does."""
    return int((parse(text) * 1000).to_integral_value(ROUND_CEILING))
