"""One plugin: how it registers, is configured and synchronized, and how an event is put to it.

    connected ─RegisterPlugin─► registered ─Configure─► configured ─Synchronize─► in service ─► gone

Which plugins there are, and who is asked before whom, is the adaptation's.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

from google.protobuf.message import DecodeError, Message

from cri.nri import ttrpc
from cri.nri.api import nri_pb2 as nri
from cri.nri.connection import Connection
from cri.nri.errors import CallFailed, PluginGone, PluginRefused, RegistrationFailed
from cri.nri.events import EVERY_EVENT, PLUGIN_SERVICE, RUNTIME_SERVICE, VALIDATE_CONTAINER_ADJUSTMENT, Event
from oci.values import frozen

Q = TypeVar("Q", bound=Message)
R = TypeVar("R", bound=Message)
Update = Callable[[nri.UpdateContainersRequest], Awaitable[nri.UpdateContainersResponse]]

#: The version of NRI that is spoken here; plugins choose by it what they may ask for.
NRI_VERSION: Final = "v0.12.1"

_NAME: Final = re.compile(r"[a-zA-Z0-9_.+-]+")
_INDEX: Final = re.compile(r"[0-9]{2}")


@frozen
class Terms:
    """What every plugin is told, and held to. Synchronize, which may carry everything there is, gets as long as the
    registration."""

    runtime_name: str
    runtime_version: str
    registration_timeout_s: float
    request_timeout_s: float


def check_name(index: str, name: str) -> None:
    """Raises RegistrationFailed."""
    if not _INDEX.fullmatch(index):
        raise RegistrationFailed(f"plugin {name!r}: the index {index!r} is not two digits")
    if not _NAME.fullmatch(name):
        raise RegistrationFailed(f"plugin {name!r}: the name is empty or has other characters than a-zA-Z0-9_.+-")


class Plugin:
    """`index` and `name` are known beforehand of plugins that the daemon has started itself."""

    def __init__(
        self, terms: Terms, update: Update, on_lost: Callable[[Plugin], None], *, index: str = "", name: str = ""
    ) -> None:
        self._terms = terms
        self._update = update
        self._on_lost = on_lost
        self._log = logging.getLogger("cri.nri")
        self._registered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._formerly: set[int] = set()
        self.index, self.name = index, name
        self.events = 0
        self.connection = Connection(
            {
                (RUNTIME_SERVICE, "RegisterPlugin"): self._register,
                (RUNTIME_SERVICE, "UpdateContainers"): self._update_containers,
            },
            self._lost,
        )

    def __str__(self) -> str:
        return f"{self.index or '??'}-{self.name or 'unregistered'}"

    @property
    def validates(self) -> bool:
        return bool(self.events & VALIDATE_CONTAINER_ADJUSTMENT.bit)

    # --- the way into service -----------------------------------------------------------------------------------------

    async def enter(self, config: str = "") -> None:
        """Wait for the registration, then configure. Raises RegistrationFailed; the connection is closed then."""
        terms = self._terms
        try:
            async with asyncio.timeout(terms.registration_timeout_s):
                await asyncio.shield(self._registered)
            request = nri.ConfigureRequest(
                config=config,
                runtime_name=terms.runtime_name,
                runtime_version=terms.runtime_version,
                registration_timeout=int(terms.registration_timeout_s * 1000),
                request_timeout=int(terms.request_timeout_s * 1000),
                NRI_version=NRI_VERSION,
            )
            answer = await self._call("Configure", request, nri.ConfigureResponse, terms.request_timeout_s)
            self.events = _subscription(answer.events)
        except TimeoutError:
            self.connection.close()
            raise RegistrationFailed(f"did not register within {terms.registration_timeout_s:g} s") from None
        except (CallFailed, PluginGone, RegistrationFailed) as error:
            self.connection.close()
            raise RegistrationFailed(f"plugin {self}: {error}") from error

    async def synchronize(
        self, pods: Sequence[nri.PodSandbox], containers: Sequence[nri.Container]
    ) -> list[nri.ContainerUpdate]:
        """Tell it all there is, in as many parts as needed; its updates. Raises RegistrationFailed."""
        try:
            async with asyncio.timeout(self._terms.registration_timeout_s):
                return await self._synchronize(list(pods), list(containers))
        except TimeoutError:
            reason = f"did not synchronize within {self._terms.registration_timeout_s:g} s"
        except (CallFailed, PluginGone, RegistrationFailed) as error:
            reason = str(error)
        self.connection.close()
        raise RegistrationFailed(f"plugin {self}: {reason}")

    async def _synchronize(
        self, pods: list[nri.PodSandbox], containers: list[nri.Container]
    ) -> list[nri.ContainerUpdate]:
        part = len(pods) + len(containers)
        while True:
            some_pods = pods[:part]
            some_containers = containers[: part - len(some_pods)]
            more = len(some_pods) + len(some_containers) < len(pods) + len(containers)
            request = nri.SynchronizeRequest(pods=some_pods, containers=some_containers, more=more)
            timeout = self._terms.registration_timeout_s
            try:
                answer = await self._call("Synchronize", request, nri.SynchronizeResponse, timeout)
            except ttrpc.MessageTooLong as error:
                if part == 1:
                    raise RegistrationFailed(f"one pod or container alone is too long: {error}") from error
                part = max(1, min(part // 2, int(part * 0.9 * ttrpc.LONGEST_MESSAGE / error.length)))
                continue
            if not more:
                return list(answer.update)
            if answer.update or not answer.more:
                raise RegistrationFailed("it does not take lists that are sent in parts")
            pods, containers = pods[len(some_pods) :], containers[len(some_containers) :]

    # --- in service ---------------------------------------------------------------------------------------------------

    async def put(self, event: Event[Q, R], request: Q) -> R | None:
        """Put an event to it; None when it did not subscribe, or is gone (which is no reason to fail anything).

        Raises PluginRefused with the plugin's reason.
        """
        if not self.events & event.bit or self.connection.lost:
            return None
        timeout = self._terms.request_timeout_s
        try:
            if event.number not in self._formerly:
                try:
                    return await self._call(event.method, request, event.response, timeout)
                except CallFailed as error:
                    if error.code != ttrpc.UNIMPLEMENTED or not event.formerly:
                        raise
                    self._formerly.add(event.number)
                    self._log.info("NRI plugin %s: gets %s by StateChange", self, event.method)
            await self._call("StateChange", _state_change(event, request), nri.Empty, timeout)
            return event.response()
        except CallFailed as error:
            raise PluginRefused(str(self), f"{error.method}: {error.text}") from error
        except ttrpc.MessageTooLong as error:
            raise PluginRefused(str(self), f"{event.method}: {error}") from error
        except PluginGone as error:
            self._log.error("NRI plugin %s is dropped: %s", self, error)
            return None

    async def shut_down(self) -> None:
        """Say good-bye to it; a plugin that does not answer is as good as gone."""
        try:
            await self._call("Shutdown", nri.Empty(), nri.Empty, self._terms.request_timeout_s)
        except (CallFailed, PluginGone) as error:
            self._log.debug("NRI plugin %s: %s", self, error)
        self.connection.close()

    async def _call(self, method: str, request: Message, response: type[R], timeout_s: float) -> R:
        payload = await self.connection.call(PLUGIN_SERVICE, method, request.SerializeToString(), timeout_s)
        try:
            return response.FromString(payload)
        except DecodeError as error:
            self.connection.close()
            raise PluginGone(f"{method}: the answer is no {response.DESCRIPTOR.name}: {error}") from error

    # --- what it calls ------------------------------------------------------------------------------------------------

    async def _register(self, payload: bytes) -> bytes:
        request = _parsed(nri.RegisterPluginRequest, "RegisterPlugin", payload)
        if self._registered.done():
            raise CallFailed("RegisterPlugin", ttrpc.INVALID_ARGUMENT, f"registered already, as {self}")
        if not self.name:
            try:
                check_name(request.plugin_idx, request.plugin_name)
            except RegistrationFailed as error:
                self._registered.set_exception(error)
                raise CallFailed("RegisterPlugin", ttrpc.INVALID_ARGUMENT, str(error)) from error
            self.index, self.name = request.plugin_idx, request.plugin_name
        self._log.info("NRI plugin %s registered, NRI version %s", self, request.NRI_version or "unknown")
        self._registered.set_result(None)
        return b""

    async def _update_containers(self, payload: bytes) -> bytes:
        request = _parsed(nri.UpdateContainersRequest, "UpdateContainers", payload)
        return (await self._update(request)).SerializeToString()

    def _lost(self) -> None:
        if not self._registered.done():
            self._registered.set_exception(RegistrationFailed("the connection was closed before the registration"))
            self._registered.exception()  # nobody may be waiting
        self._on_lost(self)


def _subscription(events: int) -> int:
    if unknown := events & ~EVERY_EVENT:
        raise RegistrationFailed(f"it subscribes to events that do not exist (bits {unknown:#x})")
    return events or EVERY_EVENT


def _state_change(event: Event[Q, R], request: Q) -> nri.StateChangeEvent:
    change = nri.StateChangeEvent(event=event.number)
    for field, value in request.ListFields():
        if field.name in ("pod", "container"):
            getattr(change, field.name).CopyFrom(value)
    return change


def _parsed(kind: type[R], method: str, payload: bytes) -> R:
    try:
        return kind.FromString(payload)
    except DecodeError as error:
        raise CallFailed(method, ttrpc.INVALID_ARGUMENT, f"no {kind.DESCRIPTOR.name}: {error}") from error
