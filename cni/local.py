"""The built-in network behind an asyncio door. Owns its worker's order of work, its records, and late link removal.

All blocking work of the package runs in the one worker thread that is passed in, so what is queued here runs in order:
an undo that is queued after an add meets what the add has done, whether or not somebody still waits for it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Final, ParamSpec, TypeVar

from cni import result as results
from cni.builtin.allocation import IPAddress, plan_ranges
from cni.builtin.foundation import Attached
from cni.builtin.network import PodNetwork
from cni.cache import Cache, Record
from cni.errors import CniError, NetworkTimeout
from cni.values import Attachment, BuiltinNetwork, BuiltinSubnet, NetworkResult

P = ParamSpec("P")
T = TypeVar("T")
_log: Final = logging.getLogger("cni.local")
_REAP_SECONDS: Final = 5.0


async def in_worker(worker: ThreadPoolExecutor, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    return await asyncio.get_running_loop().run_in_executor(worker, lambda: function(*args, **kwargs))


class LocalNetwork:
    """Kernel sockets are opened at first use and stay open."""

    def __init__(
        self, settings: BuiltinNetwork, cache: Cache, worker: ThreadPoolExecutor, timeout_seconds: float
    ) -> None:
        self.name = settings.name
        self._settings = settings
        self._cache = cache
        self._worker = worker
        self._timeout = timeout_seconds
        self._opened: PodNetwork | None = None  # the worker's
        self._reaping: asyncio.TimerHandle | None = None
        self._background: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        if self._reaping is not None:
            self._reaping.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        await in_worker(self._worker, self._close)

    async def prepare(self) -> None:
        """The bridge and its table are there afterwards; repairs what somebody removed."""
        await in_worker(self._worker, lambda: self._network().prepare())

    async def add(self, attachment: Attachment) -> NetworkResult:
        work = asyncio.ensure_future(in_worker(self._worker, self._add, attachment))
        try:
            async with asyncio.timeout(self._timeout):
                return await asyncio.shield(work)
        except (TimeoutError, asyncio.CancelledError) as error:
            if not work.done() or not work.exception():
                # A thread cannot be stopped. The undoing is queued now, so nothing comes between it and what it undoes.
                work.add_done_callback(lambda done: done.cancelled() or done.exception())
                self._run_later(in_worker(self._worker, self._abandon, attachment))
            if isinstance(error, TimeoutError):
                raise NetworkTimeout(self.name, "ADD", self._timeout) from error
            raise

    async def delete(self, attachment: Attachment, record: Record | None) -> None:
        """The record goes last: as long as it exists, something may be left to delete."""
        await in_worker(self._worker, self._delete, attachment, record)
        if self._reaping is None:
            self._reaping = asyncio.get_running_loop().call_later(_REAP_SECONDS, self._reap)

    async def check(self, record: Record) -> None:
        await in_worker(self._worker, lambda: self._network().check(record.attachment, _addresses(record)))

    async def collect(self, valid: Collection[tuple[str, str]]) -> None:
        await in_worker(self._worker, lambda: self._network().collect(valid))

    async def unowned(self, valid: Collection[tuple[str, str]]) -> list[str]:
        """What collect() would release, in words."""
        return await in_worker(self._worker, self._unowned, valid)

    async def move(self, subnets: tuple[BuiltinSubnet, ...], *, in_use: bool) -> bool:
        """New pods get addresses of `subnets`; False, and nothing changes, while pods have others.

        `in_use`: this network serves now, its bridge is made anew. Raises ConfigError, for an overlap as well.
        """
        return await in_worker(self._worker, self._move, subnets, in_use)

    # --- in the worker thread -----------------------------------------------------------------------------------

    def _network(self) -> PodNetwork:
        if self._opened is None:
            self._opened = PodNetwork(self._settings, self._recorded)
        return self._opened

    def _move(self, subnets: tuple[BuiltinSubnet, ...], in_use: bool) -> bool:
        if subnets == self._settings.subnets:
            return True
        before, wanted = self._settings, replace(self._settings, subnets=subnets)
        ranges = plan_ranges(wanted.name, subnets)
        attached = [address for _, addresses in self._recorded() for address in addresses]
        if any(all(address not in source.subnet for source in ranges) for address in attached):
            return False
        if in_use and not attached:
            self._network().remove_bridge()  # it has the old gateway's addresses
        self._close()
        self._settings = wanted
        if in_use:
            try:
                self._network().prepare()
            except BaseException:
                self._close()
                self._settings = before
                self._network().prepare()
                raise
        return True

    def _close(self) -> None:
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    def _add(self, attachment: Attachment) -> NetworkResult:
        result = self._network().add(attachment)
        document = results.dump(result, result.version)
        record = Record(attachment=attachment, network=self.name, config=None, result=document)
        try:
            self._cache.write(record)
        except BaseException:
            self._network().delete(attachment, _addresses(record))
            raise
        return results.network_result(self.name, attachment.ifname, result)

    def _delete(self, attachment: Attachment, record: Record | None) -> None:
        known = _addresses(record) if record is not None and record.result is not None else None
        self._network().delete(record.attachment if record is not None else attachment, known)
        self._cache.remove(attachment.sandbox_id, attachment.ifname)

    def _unowned(self, valid: Collection[tuple[str, str]]) -> list[str]:
        orphans = self._network().orphans(valid)
        ports = [f"host port {element.comment} in map {name}" for name, element in orphans.ports]
        return ports + [f"address {holding.address} of {holding.container_id}" for holding in orphans.addresses]

    def _abandon(self, attachment: Attachment) -> None:
        """Nobody hears of a failure here; the record, or gc(), remembers what is left."""
        try:
            self._delete(attachment, self._cache.read(attachment.sandbox_id, attachment.ifname))
        except (CniError, OSError) as error:
            _log.warning("undoing the abandoned add of sandbox %s failed: %s", attachment.sandbox_id, error)

    def _recorded(self) -> list[Attached]:
        return [
            (record.attachment, _addresses(record))
            for record in self._cache.records()
            if record.config is None and record.result is not None
        ]

    # --- in the background --------------------------------------------------------------------------------------

    def _reap(self) -> None:
        """By now most links have gone with their namespaces; see `PodNetwork.delete`."""
        self._reaping = None
        self._run_later(self._reap_links())

    async def _reap_links(self) -> None:
        await in_worker(self._worker, lambda: self._network().reap())

    def _run_later(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)


def _addresses(record: Record) -> tuple[IPAddress, ...]:
    return tuple(address.address.ip for address in results.parse(record.result).addresses)
