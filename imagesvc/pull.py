"""How an image comes to this node: resolve → layers → cover → record. Owns no policy of who may pull what.

    resolve     a worker asks the registry what the reference means; always, also for an image that is here: that is
                how its credentials are checked
    layers      those that are missing, each by a worker, several at a time; a layer that two pulls want is fetched once
    cover       see imagesvc.layer.cover
    record      the image and its names, in one step, after everything it names is durable

A pull that fails or is given up leaves nothing: its layers are collected, its half-written files removed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from imagesvc.config import ConfigDocument, parse_config
from imagesvc.covering import CoverMaker
from imagesvc.digest import Digest
from imagesvc.errors import CorruptContent, WorkerDied
from imagesvc.joined import Joined
from imagesvc.keeper import LayerKeeper
from imagesvc.layer.files import LayerId, remove_both
from imagesvc.layer.writer import LayerForm
from imagesvc.progress import LayerProgress, Phase, PullWatch
from imagesvc.reference import Reference
from imagesvc.registry.credentials import Credentials
from imagesvc.store.images import ImageStore
from imagesvc.store.records import ImageId, ImageRecord, LayerRecord, Name
from imagesvc.worker.messages import (
    Access,
    Failed,
    Job,
    LayerJob,
    LayerSource,
    Progress,
    Resolution,
    ResolveJob,
    Written,
)
from imagesvc.worker.pool import Pool

_AVOID_S = 30.0
_ATTEMPTS = 2  # when a worker dies


@dataclass(frozen=True, slots=True, kw_only=True)
class PullSettings:
    registry_config_path: Path
    docker_config_paths: tuple[Path, ...]
    progress_timeout: float
    parallel_downloads: int
    form: LayerForm


class Puller:
    def __init__(
        self, settings: PullSettings, store: ImageStore, keeper: LayerKeeper, covers: CoverMaker, pool: Pool
    ) -> None:
        self._settings = settings
        self._store = store
        self._keeper = keeper
        self._pool = pool
        self._covers = covers
        self._layers: Joined[LayerId, LayerRecord] = Joined()
        self._listeners: dict[LayerId, list[Callable[[Progress], None]]] = {}
        self._failed_hosts: dict[str, float] = {}

    async def pull(self, reference: Reference, credentials: Credentials | None, watch: PullWatch) -> ImageId:
        """Raises PullError, RegistryConfigError, LayerError, OSError."""
        access = self._access(reference, credentials)
        resolution = await self._resolve(reference, access)
        if resolution is None:
            return self._store.names[str(reference)].image
        document = parse_config(resolution.config)
        with self._keeper.lease(LayerId(layer.diff_id) for layer in resolution.layers):
            access = replace(access, authorizations=resolution.authorizations)
            await self._fetch_all(resolution.layers, access, watch)
            await self._record(reference, resolution, document)
        return ImageId(resolution.config_digest)

    # --- resolve ---------------------------------------------------------------------------------------------------

    async def _resolve(self, reference: Reference, access: Access) -> Resolution | None:
        """None when the reference still means the image that it names here."""
        known = self._store.names.get(str(reference))
        report = await self._run(ResolveJob(access=access, known=known.digest if known else ""), _ignore)
        assert isinstance(report, Resolution)
        if not report.unchanged:
            return report
        if self._store.names.get(str(reference)) == known:
            return None
        # The image was removed, or the name moved, while the registry was asked.
        report = await self._run(ResolveJob(access=access), _ignore)
        assert isinstance(report, Resolution)
        return report

    def _access(self, reference: Reference, credentials: Credentials | None) -> Access:
        settings = self._settings
        now = time.monotonic()
        self._failed_hosts = {host: until for host, until in self._failed_hosts.items() if until > now}
        return Access(
            reference=str(reference),
            credentials=credentials,
            registry_config_path=str(settings.registry_config_path),
            docker_config_paths=tuple(str(path) for path in settings.docker_config_paths),
            progress_timeout=settings.progress_timeout,
            avoid=tuple(self._failed_hosts),
        )

    # --- layers ----------------------------------------------------------------------------------------------------

    async def _fetch_all(self, sources: Iterable[LayerSource], access: Access, watch: PullWatch) -> None:
        """All of them are here when this returns; the first failure ends the others."""
        slots = asyncio.Semaphore(self._settings.parallel_downloads)
        tasks = [
            asyncio.ensure_future(self._fetch(position, source, access, watch, slots))
            for position, source in enumerate(sources)
        ]
        if not tasks:
            return
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _fetch(
        self, position: int, source: LayerSource, access: Access, watch: PullWatch, slots: asyncio.Semaphore
    ) -> None:
        layer = LayerId(source.diff_id)
        progress = _LayerWatch(position, source, watch)
        if layer in self._store.layers:
            progress.show(Phase.REUSED, source.size)
            return
        progress.show(Phase.WAITING, 0)
        async with slots:
            listeners = self._listeners.setdefault(layer, [])
            listeners.append(progress.on_progress)
            try:
                await self._layers.run(layer, lambda: self._fetch_one(layer, source, access))
            finally:
                listeners.remove(progress.on_progress)
                if not listeners:
                    self._listeners.pop(layer, None)
        progress.show(Phase.DONE, source.size)

    async def _fetch_one(self, layer: LayerId, source: LayerSource, access: Access) -> LayerRecord:
        if layer in self._store.layers:  # another pull has finished it while this one waited for its slot
            return self._store.layers[layer]
        record = await self._write(layer, source, access, self._keeper.path(layer, self._settings.form))
        self._store.add_layer(record)
        return record

    async def refetch(self, reference: Reference, layer: LayerId, to: Path) -> LayerRecord:
        """Once more a layer that is here already, written to `to`. Raises PullError, RegistryConfigError, OSError."""
        access = self._access(reference, None)
        resolution = await self._run(ResolveJob(access=access), _ignore)
        assert isinstance(resolution, Resolution)
        for source in resolution.layers:
            if source.diff_id == layer:
                access = replace(access, authorizations=resolution.authorizations)
                return await self._write(layer, source, access, to)
        raise CorruptContent(str(reference), "", f"the image that the registry has there has no layer {layer}")

    async def _write(self, layer: LayerId, source: LayerSource, access: Access, final: Path) -> LayerRecord:
        """Nothing is left at `final` when it fails."""
        form, staged = self._settings.form, self._keeper.new_staged()
        job = LayerJob(
            access=access,
            digest=source.digest,
            size=source.size,
            media_type=source.media_type,
            diff_id=source.diff_id,
            form=form.value,
            staged=str(staged),
            final=str(final),
        )
        try:
            written = await self._run(job, lambda progress: self._tell(layer, progress))
        except BaseException:
            # The worker is dead or done: what it left is nobody's.
            await asyncio.shield(asyncio.to_thread(remove_both, staged, final))
            raise
        assert isinstance(written, Written)
        return LayerRecord(
            id=layer,
            form=form,
            size=written.size,
            inodes=written.inodes,
            implied=frozenset(written.implied),
            opaque_root=written.opaque_root,
            seal=written.seal,
        )

    def _tell(self, layer: LayerId, progress: Progress) -> None:
        for listener in tuple(self._listeners.get(layer, ())):
            listener(progress)

    async def _run(self, job: Job, on_progress: Callable[[Progress], None]) -> Resolution | Written:
        for attempt in range(_ATTEMPTS):
            try:
                report = await self._pool.run(job, on_progress)
                break
            except WorkerDied:
                if attempt + 1 == _ATTEMPTS:
                    raise
                if isinstance(job, LayerJob):
                    await asyncio.shield(asyncio.to_thread(remove_both, Path(job.staged), Path(job.final)))
        until = time.monotonic() + _AVOID_S
        self._failed_hosts.update((host, until) for host in report.failed)
        if isinstance(report, Failed):
            raise report.error()
        return report

    # --- cover and record ------------------------------------------------------------------------------------------

    async def _record(self, reference: Reference, resolution: Resolution, document: ConfigDocument) -> None:
        image = ImageId(resolution.config_digest)
        digest = Digest(resolution.digest)
        if image not in self._store.images:
            layers = [LayerId(layer.diff_id) for layer in resolution.layers]
            with ExitStack() as leases:
                made, root = await self._covers.make(layers, leases)
                if image not in self._store.images:  # two names of it may be pulled at once
                    record = ImageRecord(
                        id=image,
                        config=document.config,
                        layers=(*layers, made) if made else tuple(layers),
                        root_mode=root.mode,
                        root_uid=root.uid,
                        root_gid=root.gid,
                        config_size=len(resolution.config),
                    )
                    self._store.add_image(record, resolution.config, time.time_ns())
        names = [Name(name=reference.with_digest(digest), image=image, digest=digest)]
        if reference.tag:
            names.append(Name(name=str(reference), image=image, digest=digest))
        self._store.set_names(names)


class _LayerWatch:
    def __init__(self, position: int, source: LayerSource, watch: PullWatch) -> None:
        self._position = position
        self._source = source
        self._watch = watch

    def show(self, phase: Phase, fetched: int) -> None:
        source = self._source
        layer = LayerProgress(
            digest=source.digest, phase=phase, fetched_bytes=min(fetched, source.size), size_bytes=source.size
        )
        self._watch.set(self._position, layer)

    def on_progress(self, progress: Progress) -> None:
        self.show(Phase.RETRYING if progress.retrying else Phase.FETCHING, progress.fetched)


def _ignore(_: Progress) -> None:
    """Nobody watches a manifest come."""
