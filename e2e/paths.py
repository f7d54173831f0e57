"""Where things of this checkout are. Owns the names; makes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
CACHE: Final = ROOT / ".cache"
EXAMPLES: Final = ROOT / "examples"
