"""Which specs of e2e.test run here: all that a node must pass. None of them needs a second node."""

from __future__ import annotations

from typing import Final

FOCUS: Final = r"\[NodeConformance\]"
