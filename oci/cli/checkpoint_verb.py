"""coracle-oci checkpoint: a container's processes to disk, by CRIU."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from oci.checkpoint.dump import DumpRequest, dump, freezer_directory, outside_of, refuse_strange
from oci.cli.checkpoint_options import OPTIONS as COMMON
from oci.cli.checkpoint_options import common
from oci.cli.containers import only_word, parse_config
from oci.cli.lifecycle import destroy
from oci.cli.options import Parsed, switch, value
from oci.cli.status import status_of
from oci.errors import StateError
from oci.state import StateDirectory, process_start

if TYPE_CHECKING:
    from oci.cli.dispatch import Settings

USAGE: Final = "checkpoint [options] ID"
OPTIONS = (
    *COMMON,
    value("parent-path", "DIR", "images of an earlier pre-dump, relative to those of this one"),
    switch("leave-running", "let the container go on afterwards"),
    switch("tcp-skip-in-flight", "without TCP connections that are being opened"),
    switch("link-remap", "with deleted files that are still open, by links to them"),
    switch("pre-dump", "only memory, while the container goes on"),
    value("page-server", "ADDRESS:PORT", "send memory there instead of writing it to the images"),
    value("network-lock", "METHOD", "iptables, nftables or skip"),
)


def run(settings: Settings, parsed: Parsed) -> int:
    container_id = only_word(parsed)
    directory = StateDirectory(settings.root)
    state = directory.load(container_id)
    status = status_of(directory, state)
    if status not in ("running", "paused"):
        raise StateError(container_id, f"cannot be checkpointed, it is {status}")
    spec = parse_config(directory.config(container_id), "config.json")
    refuse_strange(spec, container_id)
    images = os.path.abspath(parsed.text("image-path") or "checkpoint")
    pre_dump = parsed.switch("pre-dump")
    dump(
        DumpRequest(
            container_id=container_id,
            pid=state.pid,
            spec=spec,
            images=images,
            work=os.path.abspath(parsed.text("work-path") or images),
            program=parsed.text("criu") or "criu",
            outside=outside_of(spec),
            freezer=None if state.cgroup_path is None else freezer_directory(state.cgroup_path),
            pre_dump=pre_dump,
            options=common(parsed, spec),
        )
    )
    if not pre_dump and not parsed.switch("leave-running") and process_start(state.pid) != state.process_start:
        destroy(settings, state, spec)
    return 0
