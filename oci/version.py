"""The version of Coracle, as in pyproject.toml; here because the executor's command line has it, too."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

VERSION: Final = "0.1.0"
