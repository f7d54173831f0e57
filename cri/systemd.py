"""Tells systemd how the service fares (sd_notify(3)), when it was started by systemd with Type=notify."""

from __future__ import annotations

import os
import socket
from typing import Final

_PATIENCE_S: Final = 2.0


def notify(state: str, address: str | None = None) -> None:
    """Send `state`, like READY=1; `address` defaults to NOTIFY_SOCKET, without which nothing happens."""
    address = address if address is not None else os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        # A systemd that reads nothing for so long must not keep us from our work.
        sock.settimeout(_PATIENCE_S)
        try:
            sock.sendto(state.encode(), f"\0{address[1:]}" if address.startswith("@") else address)
        except OSError:
            pass  # systemd's own time limit will say more than an error here could
