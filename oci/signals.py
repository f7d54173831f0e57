"""Signals as plain numbers: the C half of `signal`, whose Python half makes four enums when it is imported."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
else:
    import _signal as signal

NAMES = {name: int(getattr(signal, name)) for name in dir(signal) if name[:3] == "SIG" and name[3] != "_"}
"""SIGTERM -> 15, and so on; SIGRTMIN and SIGRTMAX too, and the aliases SIGCLD, SIGIOT, SIGPOLL."""

__all__ = ["NAMES", "signal"]
