"""The label selectors of the list RPCs: every wanted label must be there, with that value."""

from __future__ import annotations

from collections.abc import Mapping


def matches_labels(labels: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    return all(labels.get(name) == value and name in labels for name, value in wanted.items())
