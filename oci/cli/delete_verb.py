"""coracle-oci delete"""

from __future__ import annotations

from oci.cli.containers import parse_config
from oci.cli.lifecycle import destroy, kill_init
from oci.cli.options import Parsed, UsageError, switch
from oci.errors import ContainerNotFound, StateError
from oci.state import StateDirectory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from oci.cli.dispatch import Settings


USAGE = "delete [options] ID"
OPTIONS = (
    switch("force f", "kill a running container; no error when there is none"),
    switch("regex", "ID is a regular expression"),
)


def run(settings: Settings, parsed: Parsed) -> int:
    if len(parsed.words) != 1:
        raise UsageError("needs exactly one container id")
    directory = StateDirectory(settings.root)
    if parsed.switch("regex"):
        import re

        pattern = re.compile(parsed.words[0])
        for container_id in filter(pattern.search, directory.ids()):
            _delete(settings, directory, container_id, force=parsed.switch("force"))
        return 0
    _delete(settings, directory, parsed.words[0], force=parsed.switch("force"))
    return 0


def _delete(settings: Settings, directory: StateDirectory, container_id: str, *, force: bool) -> None:
    try:
        state = directory.load(container_id)
    except ContainerNotFound:
        if not force:
            raise
        # Also what a create left that was killed half-way.
        directory.remove(container_id)
        return
    status = directory.status(state)
    if status == "running" and not force:
        raise StateError(container_id, "cannot be deleted, it is running; use --force")
    if status != "stopped":
        kill_init(state)
    config = directory.config(container_id)
    # The rest of it matters no more, and to read it costs more than to remove the container.
    destroy(settings, state, parse_config(config, "config.json") if b"poststop" in config else None)
