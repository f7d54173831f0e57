"""Signals: their names, sending them. Plain numbers, by the C half of `signal`: its Python half makes four enums."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
else:
    import _signal as signal

NAMES = {name: int(getattr(signal, name)) for name in dir(signal) if name[:3] == "SIG" and name[3] != "_"}
"""SIGTERM -> 15, and so on; SIGRTMIN and SIGRTMAX too, and the aliases SIGCLD, SIGIOT, SIGPOLL."""

__all__ = ["NAMES", "send_signal", "signal", "signal_number"]


def send_signal(pidfd: int, number: int) -> None:
    """To a process that may have ended and been reaped: that is no error to anybody who sends one."""
    try:
        signal.pidfd_send_signal(pidfd, number)
    except ProcessLookupError:
        pass


def signal_number(text: str) -> int:
    """ "15", "TERM", "SIGTERM", "RTMIN+3", "RTMAX-1". Raises ValueError."""
    name = text.upper().removeprefix("SIG")
    number = _decimal(name)
    if number is None:
        base, offset = name[:5], name[5:]
        if base in ("RTMIN", "RTMAX") and offset[:1] in ("+", "-"):
            distance = _decimal(offset[1:])
            if distance is not None:
                number = NAMES[f"SIG{base}"] + (distance if offset[0] == "+" else -distance)
        else:
            number = NAMES.get(f"SIG{name}")
    if number is None or not 0 < number < signal.NSIG:
        raise ValueError(f"{text!r} is not a signal")
    return number


def _decimal(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() else None
