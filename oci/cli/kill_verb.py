"""coracle-oci kill"""

from __future__ import annotations

import os

from oci.cli.options import Parsed, UsageError, switch
from oci.errors import StateError
from oci.signals import send_signal, signal_number
from oci.state import StateDirectory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from oci.cli.dispatch import Settings


USAGE = "kill [options] ID [SIGNAL]"
OPTIONS = (switch("all a", "signal every process of the container"),)


def run(settings: Settings, parsed: Parsed) -> int:
    if len(parsed.words) not in (1, 2):
        raise UsageError("needs a container id and at most one signal")
    container_id = parsed.words[0]
    number = parse_signal(parsed.words[1] if len(parsed.words) > 1 else "TERM")
    directory = StateDirectory(settings.root)
    state = directory.load(container_id)
    status = directory.status(state)
    if parsed.switch("all") and state.cgroup_path is not None:
        from oci.cli.containers import open_cgroup

        cgroup = open_cgroup(state)
        if cgroup is not None:
            cgroup.kill(number)
        return 0
    if status == "stopped":
        raise StateError(container_id, "is not running")
    pidfd = os.pidfd_open(state.pid)
    # The pid may have changed hands between the look and the open.
    if directory.status(state) != "stopped":
        send_signal(pidfd, number)
    return 0


def parse_signal(text: str) -> int:
    try:
        return signal_number(text)
    except ValueError as error:
        raise UsageError(str(error))
