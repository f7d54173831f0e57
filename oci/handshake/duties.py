"""What the parent does for a child that asks: callbacks of one launch."""

from __future__ import annotations

from oci.values import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


@record
class Duties:
    """Each takes the child's pid. `adopt` is for a sibling that took the child's place; `send_listener` also gets the
    seccomp listener."""

    write_mappings: Callable[[int], None] | None = None
    run_hooks: Callable[[int], None] | None = None
    attach: Callable[[int], None] | None = None
    adopt: Callable[[int], None] | None = None
    send_listener: Callable[[int, int], None] | None = None
