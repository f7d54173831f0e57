"""The way from a verb to the daemon: a channel to its socket, and errors as a message and an exit code."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import grpc

from cri.cli.messages import fail
from cri.config import Settings

#: For questions that the daemon answers from memory.
QUICK_S: Final = 10.0
_UNLIMITED: Final = -1


@contextmanager
def connected(settings: Settings) -> Iterator[grpc.Channel]:
    """A channel to the daemon. A call that fails ends the program with what the daemon said."""
    options = [("grpc.max_receive_message_length", _UNLIMITED)]
    with grpc.insecure_channel(settings.listen, options=options) as channel:
        try:
            yield channel
        except grpc.RpcError as error:
            fail(_text(error, settings))


def _text(error: Any, settings: Settings) -> str:
    if error.code() is grpc.StatusCode.UNAVAILABLE:
        return f"no daemon answers at {settings.listen}: {error.details()}"
    return str(error.details())
