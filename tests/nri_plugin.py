"""An NRI plugin for tests: a thread on a socket, that writes down what it is told and answers as the test says.

Handlers are called in threads of their own, like those of real plugins: one may wait for the test, or call the runtime.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from google.protobuf.message import Message

from cri.nri import events, mux, ttrpc
from cri.nri.api import nri_pb2 as nri

M = TypeVar("M", bound=Message)
Handler = Callable[[Message], "Message | None"]

KINDS: Mapping[str, events.Event[Message, Message]] = {
    event.method: event for event in vars(events).values() if isinstance(event, events.Event)
}
REQUESTS: Mapping[str, type[Message]] = {
    "Configure": nri.ConfigureRequest,
    "Synchronize": nri.SynchronizeRequest,
    "Shutdown": nri.Empty,
    "StateChange": nri.StateChangeEvent,
    **{method: event.request for method, event in KINDS.items()},
}
RESPONSES: Mapping[str, type[Message]] = {
    "Configure": nri.ConfigureResponse,
    "Synchronize": nri.SynchronizeResponse,
    "Shutdown": nri.Empty,
    "StateChange": nri.Empty,
    **{method: event.response for method, event in KINDS.items()},
}


class Refusal(Exception):
    """What a handler raises to answer with an error."""

    def __init__(self, text: str, code: int = ttrpc.UNKNOWN) -> None:
        super().__init__(text)
        self.code = code


class FakePlugin:
    """A context manager; the connection is closed at its end. `subscribed` is the answer to Configure."""

    def __init__(
        self,
        connection: socket.socket | Path,
        *,
        index: str = "10",
        name: str = "test",
        handlers: Mapping[str, Handler] | None = None,
        subscribed: int = 0,
        registers: bool = True,
    ) -> None:
        if isinstance(connection, Path):
            self._socket = socket.socket(socket.AF_UNIX)
            self._socket.connect(str(connection))
        else:
            self._socket = connection
        self.index, self.name = index, name
        self.handlers: dict[str, Handler] = dict(handlers or {})
        self._subscribed = subscribed
        self._registers = registers
        self._answerer, self._caller = ttrpc.Answerer(), ttrpc.Caller()
        self._lock = threading.Lock()
        self._calls: dict[int, Future[ttrpc.Response]] = {}
        self._told = threading.Condition()
        self.told: list[tuple[str, Message]] = []
        self.closed = threading.Event()

    def __enter__(self) -> FakePlugin:
        threading.Thread(target=self._read, daemon=True).start()
        if self._registers:
            self.register()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # the other end was faster
        self.closed.wait(10)
        self._socket.close()

    # --- what it says -------------------------------------------------------------------------------------------------

    def register(self) -> Future[ttrpc.Response]:
        request = nri.RegisterPluginRequest(plugin_name=self.name, plugin_idx=self.index, NRI_version="v0.12.1")
        return self.call("RegisterPlugin", request)

    def update(self, *updates: nri.ContainerUpdate) -> nri.UpdateContainersResponse:
        response = self.call("UpdateContainers", nri.UpdateContainersRequest(update=updates)).result(10)
        assert response.code == ttrpc.OK, response.text
        return nri.UpdateContainersResponse.FromString(response.payload)

    def call(self, method: str, request: Message) -> Future[ttrpc.Response]:
        answer: Future[ttrpc.Response] = Future()
        with self._lock:
            stream, data = self._caller.call(events.RUNTIME_SERVICE, method, request.SerializeToString())
            self._calls[stream] = answer
            self._socket.sendall(mux.wrap(mux.RUNTIME_SERVICE, data))
        return answer

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    # --- what it hears ------------------------------------------------------------------------------------------------

    def methods(self) -> list[str]:
        with self._told:
            return [method for method, _ in self.told]

    def of(self, method: str, kind: type[M]) -> list[M]:
        """The requests of one method so far."""
        with self._told:
            return [request for name, request in self.told if name == method and isinstance(request, kind)]

    def wait_for(self, method: str, *, times: int = 1, seconds: float = 10) -> None:
        with self._told:
            came = self._told.wait_for(lambda: [name for name, _ in self.told].count(method) >= times, seconds)
        assert came, f"no {method} within {seconds:g} s, but {self.methods()}"

    def _read(self) -> None:
        frames = mux.Mux()
        try:
            while data := self._socket.recv(65536):
                for frame in frames.receive(data):
                    if frame.connection == mux.PLUGIN_SERVICE:
                        requests, refusals = self._answerer.receive(frame.payload)
                        assert not refusals
                        for request in requests:
                            threading.Thread(target=self._answer, args=(request,), daemon=True).start()
                    else:
                        for response in self._caller.receive(frame.payload):
                            self._calls.pop(response.stream).set_result(response)
        except OSError:
            pass  # closed under it
        finally:
            self.closed.set()

    def _answer(self, request: ttrpc.Request) -> None:
        message = REQUESTS[request.method].FromString(request.payload)
        with self._told:
            self.told.append((request.method, message))
            self._told.notify_all()
        try:
            answer = self._handle(request.method, message)
            response = ttrpc.Response(stream=request.stream, payload=answer.SerializeToString())
        except Refusal as error:
            response = ttrpc.Response(stream=request.stream, code=error.code, text=str(error))
        try:
            with self._lock:
                self._socket.sendall(mux.wrap(mux.PLUGIN_SERVICE, self._answerer.answer(response)))
        except OSError:
            pass  # the runtime has given it up

    def _handle(self, method: str, message: Message) -> Message:
        if handler := self.handlers.get(method):
            return handler(message) or RESPONSES[method]()
        if isinstance(message, nri.SynchronizeRequest):
            return nri.SynchronizeResponse(more=message.more)
        if method == "Configure":
            return nri.ConfigureResponse(events=self._subscribed)
        return RESPONSES[method]()
