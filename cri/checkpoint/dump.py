"""Containers into archives while they hold still: memory and files are of one moment, the same for all of them."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cri.checkpoint import archive, changes
from cri.errors import FailedPrecondition
from cri.state.machine import ContainerState
from cri.state.records import ContainerRecord
from cri.teardown import all_of
from oci.errors import CgroupError
from oci.protocol.messages import Checkpoint

if TYPE_CHECKING:
    from cri.daemon import Daemon

_LOGS: Final = ("dump.log", "stats-dump")


async def dump(daemon: Daemon, criu: str, wanted: Mapping[Path, ContainerRecord], patience_s: int = 0) -> None:
    """Each record's container to its location; no archive stays when one fails. They run on in any case."""
    for record in wanted.values():
        if record.state is not ContainerState.RUNNING:
            raise FailedPrecondition(f"container {record.id} is {record.state}, only a running one can be checkpointed")
        if daemon.foreign_runtime(record.sandbox_id) is not None:
            raise FailedPrecondition(f"container {record.id} is run by another runtime, which is not asked for this")
    work = daemon.trash.room("checkpoint-")
    try:
        async with _still(daemon, tuple(wanted.values())):
            # At once: none of them goes on before the last is done.
            await all_of(_dump_one(daemon, criu, record, work / record.id, patience_s) for record in wanted.values())
        for location, record in wanted.items():
            await asyncio.to_thread(archive.pack, work / record.id, location)
    except BaseException:
        for location in wanted:
            location.unlink(missing_ok=True)
        raise
    finally:
        await asyncio.to_thread(shutil.rmtree, work, ignore_errors=True)


@asynccontextmanager
async def _still(daemon: Daemon, records: Sequence[ContainerRecord]) -> AsyncIterator[None]:
    cgroups = [daemon.cgroups.open(record.cgroup) for record in records]
    try:
        await asyncio.gather(*(asyncio.to_thread(cgroup.freeze) for cgroup in cgroups))
        yield
    finally:
        for cgroup in cgroups:
            try:
                await asyncio.shield(asyncio.to_thread(cgroup.thaw))
            except CgroupError as error:  # it may have ended meanwhile; the others must be thawed all the same
                daemon.log.warning("after a checkpoint: %s", error)


async def _dump_one(daemon: Daemon, criu: str, record: ContainerRecord, directory: Path, patience_s: int) -> None:
    images = directory / archive.IMAGES
    images.mkdir(parents=True, mode=0o700)
    shim = await daemon.shim_of(record.sandbox_id)
    await shim.checkpoint(Checkpoint(container_id=record.id, images=str(images), criu=criu, timeout=max(patience_s, 0)))
    for name in _LOGS:
        if (images / name).exists():
            (images / name).rename(directory / name)
    await asyncio.to_thread(changes.write, daemon.paths.container(record.id) / "upper", directory)
    shutil.copyfile(daemon.paths.bundle(record.id) / "config.json", directory / "spec.dump")
    (directory / "config.dump").write_text(json.dumps(_description(record, daemon.now())))


def _description(record: ContainerRecord, now: int) -> dict[str, object]:
    """In the words of checkpointctl."""
    return {
        "id": record.id,
        "name": record.config.metadata.name,
        "rootfsImage": record.image_id,
        "rootfsImageRef": record.image_ref,
        "rootfsImageName": record.image_name,
        "runtime": "coracle",
        "createdTime": _time(record.created_at),
        "checkpointedTime": _time(now),
        "restoredTime": "0001-01-01T00:00:00Z",
        "restored": False,
    }


def _time(nanoseconds: int) -> str:
    return datetime.fromtimestamp(nanoseconds / 1e9, UTC).isoformat().replace("+00:00", "Z")
