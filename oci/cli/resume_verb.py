"""coracle-oci resume"""

from __future__ import annotations

from oci.cli.containers import only_word, open_cgroup
from oci.cli.options import Option, Parsed
from oci.cli.status import status_of
from oci.errors import StateError
from oci.state import StateDirectory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from oci.cli.dispatch import Settings


USAGE = "resume ID"
OPTIONS: tuple[Option, ...] = ()


def run(settings: Settings, parsed: Parsed) -> int:
    container_id = only_word(parsed)
    directory = StateDirectory(settings.root)
    state = directory.load(container_id)
    status = status_of(directory, state)
    cgroup = open_cgroup(state)
    if status != "paused" or cgroup is None:
        raise StateError(container_id, f"cannot be resumed, it is {status}")
    cgroup.thaw()
    return 0
