"""What exec and attach say beside the bytes of a command: protocol versions, exit statuses, terminal sizes. Pure.

version   errors are     resize   stdin can be finished (WebSocket; SPDY streams always can)
1, 2      plain text     no       no
3         plain text     yes      no
4         metav1.Status  yes      no
5         metav1.Status  yes      yes
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

from cri.streaming.errors import ProtocolError
from oci.values import frozen

#: Numbers of the WebSocket channels, and names of the SPDY streams.
STDIN, STDOUT, STDERR, ERROR, RESIZE = range(5)
STREAM_NAMES: Final = {"stdin": STDIN, "stdout": STDOUT, "stderr": STDERR, "error": ERROR, "resize": RESIZE}

_MAX_RESIZE_TEXT: Final = 4096
_MAX_SIDE: Final = 0xFFFF


@frozen
class CommandProtocol:
    """`name` is what goes over the wire; empty when the client named none."""

    name: str
    version: int
    base64: bool = False

    @property
    def resizes(self) -> bool:
        return self.version >= 3

    @property
    def has_close_signals(self) -> bool:
        return self.version >= 5


_BINARY: Final = tuple(
    CommandProtocol(name=f"v{version}.channel.k8s.io", version=version) for version in range(5, 1, -1)
)
_FIRST: Final = CommandProtocol(name="channel.k8s.io", version=1)
_UNNAMED: Final = CommandProtocol(name="", version=1)

SPDY_PROTOCOLS: Final = (*_BINARY, _FIRST, _UNNAMED)
WEBSOCKET_PROTOCOLS: Final = (
    _BINARY[0],
    _BINARY[1],
    CommandProtocol(name="v4.base64.channel.k8s.io", version=4, base64=True),
    _FIRST,
    CommandProtocol(name="base64.channel.k8s.io", version=1, base64=True),
    _UNNAMED,
)


def choose(offered: Sequence[str], known: Sequence[CommandProtocol]) -> CommandProtocol | None:
    """The first that the client offers and we know; one that offers none gets the unnamed, oldest protocol."""
    by_name = {protocol.name: protocol for protocol in known}
    return next((by_name[name] for name in offered or ("",) if name in by_name), None)


def exit_status(protocol: CommandProtocol, code: int) -> bytes:
    """What the error stream carries after a command ended with `code`."""
    message = f"command terminated with non-zero exit code: {code}"
    if protocol.version < 4:
        return message.encode() if code else b""
    if not code:
        return _json({"metadata": {}, "status": "Success"})
    return _json(
        {
            "metadata": {},
            "status": "Failure",
            "message": message,
            "reason": "NonZeroExitCode",
            "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]},
        }
    )


def failure_status(protocol: CommandProtocol, problem: str) -> bytes:
    """What the error stream carries when the command could not run."""
    if protocol.version < 4:
        return problem.encode()
    return _json(
        {
            "metadata": {},
            "status": "Failure",
            "message": f"Internal error occurred: {problem}",
            "reason": "InternalError",
            "details": {"causes": [{"message": problem}]},
            "code": 500,
        }
    )


@frozen
class TerminalSize:
    """In characters."""

    width: int
    height: int


class ResizeReader:
    """Terminal sizes out of the resize stream: JSON documents one after the other, in any pieces."""

    def __init__(self) -> None:
        self._text = ""
        self._decoder = json.JSONDecoder()

    def feed(self, data: bytes) -> TerminalSize | None:
        """The newest complete size, if there is one. Raises ProtocolError."""
        self._text += data.decode("latin-1")
        newest: TerminalSize | None = None
        self._text = self._text.lstrip()
        while text := self._text:
            try:
                document, end = self._decoder.raw_decode(text)
            except (ValueError, RecursionError):
                if len(text) > _MAX_RESIZE_TEXT:
                    raise ProtocolError("remote command", "resize stream holds no terminal size") from None
                break
            newest = _terminal_size(document)
            self._text = text[end:].lstrip()
        return newest


def _terminal_size(document: object) -> TerminalSize:
    if isinstance(document, dict):
        width, height = document.get("Width"), document.get("Height")
        # bool is an int, and no size
        if type(width) is int and type(height) is int and 0 <= width <= _MAX_SIDE and 0 <= height <= _MAX_SIDE:
            return TerminalSize(width=width, height=height)
    raise ProtocolError("remote command", "resize stream holds something that is no terminal size")


def _json(document: object) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()
