"""What the kubelet says of itself on the host's loopback. The host may have no HTTP client of its own."""

from __future__ import annotations

import http.client
from collections.abc import Callable
from typing import Final

Look = Callable[[], str]
"""What is still wrong; empty when nothing is."""

DEFAULT_PORT: Final = 10248
_TIMEOUT_S: Final = 5.0


def kubelet_health(port: int) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT_S)
    try:
        connection.request("GET", "/healthz")
        answer = connection.getresponse()
        body = answer.read(200).decode(errors="replace").strip()
    except (OSError, http.client.HTTPException) as error:
        return f"the kubelet does not answer: {error}"
    finally:
        connection.close()
    return "" if answer.status == http.client.OK else f"the kubelet says {answer.status}: {body}"
