"""Pod networks, as the daemon sees them. Owns the choice of the network, the cache, and the undoing of failed adds.

    Networks ── plugin chains of conf_dir (`plugins`)   when a valid configuration and its binaries are there
             └─ the built-in network (`local`)          when there is none, or no plugin binary at all

An attachment is deleted by what made it: its record says which, so the choice may change while pods run. All verbs of
one attachment run one after another. Nothing blocks the event loop: files, netlink and flock are the worker thread's,
and status() answers from memory.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager

from cni import selection
from cni.builtin import loopback
from cni.cache import Cache, Record
from cni.config import NetworkConfig
from cni.errors import CheckFailed, CniError, NetworkNotReady
from cni.local import LocalNetwork, in_worker
from cni.plugins import PluginChains
from cni.result import network_result, parse
from cni.selection import Choice
from cni.turns import Turns
from cni.values import Attachment, BuiltinSubnet, NetworkResult, NetworkSettings, NetworkStatus, validate
from cni.watch import DirectoryWatch

_NOT_READY = "NetworkPluginNotReady"  # the reason the kubelet's own tests and tools look for


class Networks:
    """Open with `await Networks.open(settings)`; all methods belong to the event loop it was opened in."""

    def __init__(self, settings: NetworkSettings, environment: Mapping[str, str], cache: Cache) -> None:
        self._settings = settings
        self._cache = cache
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="coracle-net")
        self._chains = PluginChains(settings.bin_dirs, environment, settings.timeout_seconds)
        self._builtin: LocalNetwork | None = None
        if settings.builtin is not None:
            self._builtin = LocalNetwork(settings.builtin, cache, self._worker, settings.timeout_seconds)
        self._choice = Choice()
        self._status = NetworkStatus(ready=False, reason=_NOT_READY, message="networks are being loaded")
        self._changed = asyncio.Event()
        self._watch = DirectoryWatch((settings.conf_dir, *settings.bin_dirs), self._changed.set)
        self._keeper: asyncio.Task[None] | None = None
        self._turns = Turns()
        self._listeners: list[Callable[[NetworkStatus], None]] = []
        self._closed = False

    @classmethod
    async def open(cls, settings: NetworkSettings, environment: Mapping[str, str] | None = None) -> Networks:
        """`environment` is what plugins inherit, None for the daemon's own. A network need not be ready yet."""
        cache = await asyncio.to_thread(Cache, settings.cache_dir)
        networks = cls(settings, dict(os.environ) if environment is None else environment, cache)
        networks._watch.start()
        await networks._load()
        networks._keeper = asyncio.create_task(networks._keep_status(), name="cni-status")
        return networks

    async def close(self) -> None:
        """Idempotent. Attached pods stay attached."""
        if self._closed:
            return
        self._closed = True
        self._watch.close()
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        if self._builtin is not None:
            await self._builtin.close()
        self._worker.shutdown(wait=False)

    def status(self) -> NetworkStatus:
        return self._status

    def on_status(self, listener: Callable[[NetworkStatus], None]) -> None:
        """`listener` hears every change of status()."""
        self._listeners.append(listener)

    async def move(self, subnets: tuple[BuiltinSubnet, ...]) -> bool:
        """The built-in network's new pods get addresses of these; False while pods have addresses of others.

        Raises ConfigError for ranges that cannot be used, and for one that the host uses elsewhere.
        """
        if self._builtin is None:
            return True
        return await self._builtin.move(subnets, in_use=self._choice.config is None and self._choice.builtin)

    # --- the verbs ----------------------------------------------------------------------------------------------

    async def add(self, attachment: Attachment) -> NetworkResult:
        """Attach the pod, lo up included. When it fails, everything is undone before the error is raised."""
        validate(attachment)
        async with self._turn(attachment):
            if self._choice.config is not None:
                return await self._add_by_plugins(self._choice.config, attachment)
            if self._choice.builtin and self._builtin is not None:
                return await self._builtin.add(attachment)
            raise NetworkNotReady(self._status.reason, self._status.message)

    async def delete(self, attachment: Attachment) -> None:
        """Detach the pod. Idempotent; works without namespace, without record, and after the configuration changed."""
        validate(attachment)
        async with self._turn(attachment):
            await self._delete(attachment)

    async def check(self, attachment: Attachment) -> None:
        """Raises the plugin's error, or `CheckFailed`, when the attachment is not as add() left it."""
        async with self._turn(attachment):
            record = await in_worker(self._worker, self._cache.read, attachment.sandbox_id, attachment.ifname)
            if record is None or record.result is None:
                raise CheckFailed(attachment.sandbox_id, "not attached to a network")
            if record.config is not None:
                await self._chains.check(record.config, record.attachment, record.result)
            else:
                await self._require_builtin(record).check(record)

    async def gc(self, valid: Iterable[Attachment]) -> None:
        """Release whatever belongs to none of the `valid` attachments. One failure does not stop the rest.

        What is being added or deleted meanwhile is valid too: the caller need not stop.
        """
        pairs = {(attachment.sandbox_id, attachment.ifname) for attachment in valid}
        pairs |= {key for key in self._turns.wanted() if isinstance(key, tuple)}
        failures: list[CniError] = []
        for record in await in_worker(self._worker, lambda: list(self._cache.records())):
            if (record.attachment.sandbox_id, record.attachment.ifname) not in pairs:
                try:
                    await self.delete(record.attachment)
                except CniError as error:
                    failures.append(error)
        try:
            await self._collect(pairs)
        except CniError as error:
            failures.append(error)
        if failures:
            raise failures[0]

    async def unowned(self, valid: Iterable[Attachment]) -> tuple[str, ...]:
        """What gc() would release, in words. Of a chain of plugins only what is recorded here."""
        pairs = {(attachment.sandbox_id, attachment.ifname) for attachment in valid}
        pairs |= {key for key in self._turns.wanted() if isinstance(key, tuple)}
        records = await in_worker(self._worker, lambda: list(self._cache.records()))
        keys = [(record.attachment.sandbox_id, record.attachment.ifname) for record in records]
        found = [f"attachment of {pod}/{ifname}" for pod, ifname in keys if (pod, ifname) not in pairs]
        if self._choice.config is None and self._choice.builtin and self._builtin is not None:
            found += await self._builtin.unowned(pairs | set(keys))
        return tuple(found)

    async def _collect(self, pairs: set[tuple[str, str]]) -> None:
        async with self._turns.alone():
            records = await in_worker(self._worker, lambda: list(self._cache.records()))
            pairs = pairs | {(record.attachment.sandbox_id, record.attachment.ifname) for record in records}
            if self._choice.config is not None:
                await self._chains.collect(self._choice.config, pairs)
            elif self._choice.builtin and self._builtin is not None:
                await self._builtin.collect(pairs)

    async def loopback_up(self, netns_path: str) -> None:
        """For a pod without a network of its own kind; add() does it anyway."""
        await in_worker(self._worker, loopback.loopback_up, netns_path)

    # --- how ----------------------------------------------------------------------------------------------------

    async def _add_by_plugins(self, config: NetworkConfig, attachment: Attachment) -> NetworkResult:
        await self.loopback_up(attachment.netns_path)
        begun = Record(attachment=attachment, network=config.name, config=config, result=None)
        await in_worker(self._worker, self._cache.write, begun)
        try:
            document = await self._chains.add(config, attachment)
            result = network_result(config.name, attachment.ifname, parse(document))
            done = Record(attachment=attachment, network=config.name, config=config, result=document)
            await in_worker(self._worker, self._cache.write, done)
        except BaseException as error:
            await self._undo(attachment, error)
            raise
        return result

    async def _undo(self, attachment: Attachment, error: BaseException) -> None:
        """DEL of the whole chain, to its end even when the caller is cancelled. What fails is left to delete()."""
        undoing = asyncio.ensure_future(self._delete(attachment))
        while not undoing.done():
            try:
                await asyncio.shield(undoing)
            except asyncio.CancelledError:
                continue  # the chain's deadline bounds this
            except (CniError, OSError) as second:
                error.add_note(f"undoing it failed as well: {second}")

    async def _delete(self, attachment: Attachment) -> None:
        record = await in_worker(self._worker, self._cache.read, attachment.sandbox_id, attachment.ifname)
        if record is None:
            await self._delete_unrecorded(attachment)
        elif record.config is None:
            await self._require_builtin(record).delete(attachment, record)
        else:
            await self._chains.delete(record.config, record.attachment, record.result)
            await in_worker(self._worker, self._cache.remove, attachment.sandbox_id, attachment.ifname)

    async def _delete_unrecorded(self, attachment: Attachment) -> None:
        """Nobody remembers who attached it, if anybody did: ask each network that could have."""
        if self._choice.config is not None:
            await self._chains.delete(self._choice.config, attachment, None)
        if self._builtin is not None:
            await self._builtin.delete(attachment, None)

    def _require_builtin(self, record: Record) -> LocalNetwork:
        if self._builtin is None:
            problem = f'the built-in network "{record.network}" is switched off, but holds addresses for this pod'
            raise NetworkNotReady(_NOT_READY, f"sandbox {record.attachment.sandbox_id}: {problem}")
        return self._builtin

    def _turn(self, attachment: Attachment) -> AbstractAsyncContextManager[None]:
        return self._turns.take((attachment.sandbox_id, attachment.ifname))

    # --- the choice ---------------------------------------------------------------------------------------------

    async def _keep_status(self) -> None:
        """Choose again when a directory changed; ask the network for its health now and then."""
        while True:
            try:
                async with asyncio.timeout(self._settings.status_interval_seconds):
                    await self._changed.wait()
            except TimeoutError:
                await self._refresh_status()
            else:
                await self._load()

    async def _load(self) -> None:
        self._changed.clear()
        self._choice = await in_worker(self._worker, selection.choose, self._settings)
        await self._refresh_status()

    async def _refresh_status(self) -> None:
        choice, problem = self._choice, self._choice.problem
        try:
            if choice.config is not None:
                await self._chains.status(choice.config)
            elif choice.builtin and self._builtin is not None:
                await self._builtin.prepare()
        except (CniError, OSError) as error:
            problem = str(error)
        reason = _NOT_READY if problem else ""
        status = NetworkStatus(ready=not problem, network=choice.name, reason=reason, message=problem)
        if status != self._status:
            self._status = status
            for listener in self._listeners:
                listener(status)
