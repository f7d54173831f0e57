"""Names of signals, and signals to processes that have ended."""

from __future__ import annotations

import os

import pytest

from oci.signals import send_signal, signal_number


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("SIGTERM", 15),
        ("TERM", 15),
        ("9", 9),
        ("sigusr1", 10),
        ("RTMIN+3", 37),
        ("SIGRTMAX-1", 63),
        ("RTMIN", 34),
        ("CLD", 17),
    ],
)
def test_signals_have_many_names(name: str, number: int) -> None:
    assert signal_number(name) == number


@pytest.mark.parametrize(
    "name",
    [
        "",
        "0",
        "65",
        "999",
        "NOPE",
        "SIGNOPE",
        "-9",
        "9x",
        "²",
        "٣",
        "KILL+x",
        "KILL+1",
        "RTMIN+x",
        "RTMIN+99",
        "RTMAX+1",
    ],
)
def test_nonsense_is_no_signal(name: str) -> None:
    with pytest.raises(ValueError, match="is not a signal"):
        signal_number(name)


def test_a_process_that_has_been_reaped_needs_no_signal() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    pidfd = os.pidfd_open(pid)
    try:
        os.waitpid(pid, 0)
        send_signal(pidfd, 9)
    finally:
        os.close(pidfd)
