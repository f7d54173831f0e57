"""What a worker does with a job: talks to registries, writes a layer, says what came of it."""

from __future__ import annotations

import errno
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from imagesvc import errors
from imagesvc.digest import Digest
from imagesvc.layer import files
from imagesvc.layer.errors import CorruptLayer
from imagesvc.layer.pipeline import write_layer
from imagesvc.layer.writer import LayerFacts, LayerForm
from imagesvc.manifest import Descriptor
from imagesvc.platforms import host_platform
from imagesvc.reference import parse_reference
from imagesvc.registry.client import Client
from imagesvc.registry.credentials import DockerConfig, Keyring
from imagesvc.registry.exchange import Session
from imagesvc.registry.hosts import hosts_for
from imagesvc.registry.resolve import current_digest, resolve
from imagesvc.registry.transport import Transport
from imagesvc.worker.messages import (
    Access,
    Failed,
    Job,
    LayerJob,
    LayerSource,
    Progress,
    Report,
    Resolution,
    ResolveJob,
    Written,
)

_PROGRESS_INTERVAL = 0.1


def perform(job: Job, tell: Callable[[Progress], None]) -> Report:
    """Every failure that has a reason outside of Coracle is a Failed; others raise."""
    failed: set[str] = set()
    try:
        with _client(job.access, failed) as client:
            return _resolve(job, client) if isinstance(job, ResolveJob) else _write(job, client, tell)
    except errors.PullError as error:
        return Failed(
            kind=type(error).__name__,
            reference=error.reference,
            host=error.host,
            cause=error.cause,
            retry_after=getattr(error, "retry_after", None),
            failed=tuple(failed),
        )
    except errors.RegistryConfigError as error:
        return Failed(kind="config", host=error.path, cause=error.problem, failed=tuple(failed))
    except OSError as error:
        # Of a full disk the system does not say which.
        cause = str(error.filename) if error.filename is not None else getattr(job, "final", "")
        return Failed(kind="os", errno=error.errno or errno.EIO, cause=cause, failed=tuple(failed))


@contextmanager
def _client(access: Access, failed: set[str]) -> Iterator[Client]:
    """`failed` receives the hosts that did. Configuration is read anew for each job: it may have been changed."""
    reference = parse_reference(access.reference)
    hosts = hosts_for(reference.domain, Path(access.registry_config_path))
    configs = [] if access.credentials else [DockerConfig.read(Path(path)) for path in access.docker_config_paths]
    session = Session(
        reference=reference,
        hosts=hosts,
        keyring=Keyring(reference.domain, reference.path, access.credentials, [each for each in configs if each]),
        random=random.random,
        now=time.time,
        authorizations=dict(access.authorizations),
        avoid=frozenset(access.avoid),
        failed=failed,
    )
    transport = Transport(progress_timeout=access.progress_timeout)
    try:
        yield Client(session, transport, time.sleep)
    finally:
        transport.close()


def _resolve(job: ResolveJob, client: Client) -> Resolution:
    session = client.session
    if job.known:
        current = client.hold(current_digest(session))
        if current == job.known:
            return Resolution(digest=current, unchanged=True, failed=tuple(session.failed))
    found = client.hold(resolve(session, host_platform()))
    return Resolution(
        digest=found.digest,
        config_digest=found.config_digest,
        config=found.config,
        layers=tuple(
            LayerSource(digest=layer.digest, size=layer.size, media_type=layer.media_type, diff_id=diff_id)
            for layer, diff_id in zip(found.manifest.layers, found.diff_ids, strict=True)
        ),
        authorizations=session.authorizations,
        failed=tuple(session.failed),
    )


def _write(job: LayerJob, client: Client, tell: Callable[[Progress], None]) -> Written:
    meter = _Meter(tell)
    descriptor = Descriptor(media_type=job.media_type, digest=Digest(job.digest), size=job.size)
    staged = Path(job.staged)
    form = LayerForm(job.form)
    facts: LayerFacts | None = None
    files.remove(staged)  # of a worker that died with this job
    try:
        writer = files.open_writer(staged, files.LayerId(job.diff_id), form)
        try:
            facts = write_layer(
                client.blob(descriptor, meter.retry),
                digest=descriptor.digest,
                diff_id=Digest(job.diff_id),
                writer=writer,
                on_bytes=meter.add,
            )
        finally:
            writer.close()
        files.publish(staged, Path(job.final))
    except CorruptLayer as error:
        host = client.source.name if client.source else ""
        raise errors.CorruptContent(str(client.session.reference), host, f"layer {job.digest}: {error}") from None
    finally:
        files.remove(staged)
    return Written(
        size=facts.size,
        inodes=facts.inodes,
        implied=facts.implied,
        opaque_root=facts.opaque_root,
        seal=facts.seal,
        failed=tuple(client.session.failed),
    )


class _Meter:
    def __init__(self, tell: Callable[[Progress], None]) -> None:
        self._tell = tell
        self._fetched = 0
        self._told = 0.0

    def add(self, count: int) -> None:
        self._fetched += count
        now = time.monotonic()
        if now - self._told >= _PROGRESS_INTERVAL:
            self._told = now
            self._tell(Progress(fetched=self._fetched))

    def retry(self) -> None:
        self._tell(Progress(fetched=self._fetched, retrying=True))
