"""What an exec'ed command runs as: the container's own process with another command."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

from cri.errors import FailedPrecondition
from cri.state.records import ContainerRecord
from oci.spec import Process, Spec

if TYPE_CHECKING:
    from cri.daemon import Daemon


def exec_process(daemon: Daemon, record: ContainerRecord, args: tuple[str, ...], *, terminal: bool = False) -> Process:
    """User, environment, working directory and privileges are the container's; only the command is new.

    After a restart of the daemon the container's process is read once from its bundle.
    """
    live = daemon.live_containers.get(record.id)
    if live is None:
        raise FailedPrecondition(f"container {record.id} is not running")
    if live.process is None:
        document = json.loads((daemon.paths.bundle(record.id) / "config.json").read_bytes())
        live.process = Spec.from_json(document).process
    if live.process is None:
        raise FailedPrecondition(f"container {record.id}: its config.json has no process")
    return dataclasses.replace(live.process, args=args, terminal=terminal, console_size=None)
