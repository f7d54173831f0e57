"""coracle-oci pause"""

from __future__ import annotations

from oci.cli.containers import only_word, open_cgroup
from oci.cli.options import Option, Parsed
from oci.cli.status import status_of
from oci.errors import StateError
from oci.state import StateDirectory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from oci.cli.dispatch import Settings


USAGE = "pause ID"
OPTIONS: tuple[Option, ...] = ()


def run(settings: Settings, parsed: Parsed) -> int:
    container_id = only_word(parsed)
    directory = StateDirectory(settings.root)
    state = directory.load(container_id)
    status = status_of(directory, state)
    if status not in ("running", "created"):
        raise StateError(container_id, f"cannot be paused, it is {status}")
    cgroup = open_cgroup(state)
    if cgroup is None:
        raise StateError(container_id, "cannot be paused, it has no cgroup")
    cgroup.freeze()
    return 0
