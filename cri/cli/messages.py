"""The last words of a command that cannot go on."""

from __future__ import annotations

import sys
from typing import NoReturn


def fail(*messages: str) -> NoReturn:
    """One line per message on standard error, and exit code 1."""
    for message in messages:
        print(f"coracle: {message}", file=sys.stderr, flush=True)
    sys.exit(1)
