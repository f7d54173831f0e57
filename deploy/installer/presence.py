"""What the pod serves once its work is done: /healthz, /readyz, and the host daemon's metrics at /metrics.

The daemon serves its figures on the host's loopback only; the pod is on the host's network and hands them on, with the
state of the installation beside them. Standard library only: this is what stays in memory.
"""

from __future__ import annotations

import socket
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

from deploy.installer import names
from deploy.installer.errors import InstallError
from deploy.installer.host import Host
from deploy.installer.journal import Journal, Phase
from deploy.installer.switching.state import UNDER_WAY, SwitchState, read_switch

_TIMEOUT_S: Final = 5.0
_NOT_READY: Final = UNDER_WAY | {SwitchState.ROLLED_BACK, SwitchState.STUCK}


@dataclass(frozen=True, slots=True, kw_only=True)
class Presence:
    """What is looked at for each request."""

    host: Host
    metrics_url: str
    """The daemon's, or empty."""
    removed: bool = False
    """Ready means that nothing is left."""

    def problem(self) -> str:
        """Why the node is not as it should be; empty when it is."""
        try:
            journal = Journal(self.host)
        except InstallError as error:
            return str(error)
        if self.removed:
            return "the record is still there" if journal.exists else ""
        open_steps = [record.path for record in journal.standing() if record.phase is Phase.INTENDED]
        if open_steps:
            return f"interrupted at {open_steps[-1]}"
        switch = read_switch(journal)
        if switch is not None and switch.state in _NOT_READY:
            return f"the switch is {switch.state.value}{f': {switch.reason}' if switch.reason else ''}"
        return self._no_answer()

    def state(self) -> str:
        switch = read_switch(Journal(self.host))
        return switch.state.value if switch else "installed"

    def metrics(self) -> bytes:
        lines = (
            "# HELP coracle_installer_ready Whether this node is as the installer left it.\n"
            "# TYPE coracle_installer_ready gauge\n"
            f"coracle_installer_ready {0 if self.problem() else 1}\n"
            "# HELP coracle_installer_switch 1, with how far the switch of the kubelet is.\n"
            "# TYPE coracle_installer_switch gauge\n"
            f'coracle_installer_switch{{state="{self.state()}"}} 1\n'
        )
        return lines.encode() + self._of_daemon()

    def _of_daemon(self) -> bytes:
        if not self.metrics_url:
            return b""
        try:
            with urllib.request.urlopen(self.metrics_url, timeout=_TIMEOUT_S) as answer:
                return bytes(answer.read())
        except (OSError, urllib.error.URLError):
            return b""  # its absence is what `up` and the alert on it are for: see coracle_installer_ready

    def _no_answer(self) -> str:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(_TIMEOUT_S)
            try:
                connection.connect(str(self.host.locate(names.SOCKET, follow=True)))
            except OSError as error:
                return f"nothing answers at {names.SOCKET}: {error.strerror or error}"
        return ""


class PresenceServer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: str, port: int, presence: Presence) -> None:
        self.address_family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.presence = presence
        super().__init__((address, port), _Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """A prober that hung up is no event of ours."""


class _Handler(BaseHTTPRequestHandler):
    timeout = 10.0
    server: PresenceServer

    def do_GET(self) -> None:
        answers: dict[str, Callable[[], tuple[HTTPStatus, bytes]]] = {
            "/healthz": lambda: (HTTPStatus.OK, b"ok\n"),
            "/readyz": self._ready,
            "/metrics": lambda: (HTTPStatus.OK, self.server.presence.metrics()),
        }
        answer = answers.get(self.path.partition("?")[0])
        if answer is None:
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        status, body = answer()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _ready(self) -> tuple[HTTPStatus, bytes]:
        problem = self.server.presence.problem()
        return (HTTPStatus.SERVICE_UNAVAILABLE, problem.encode() + b"\n") if problem else (HTTPStatus.OK, b"ready\n")

    def log_message(self, format: str, *args: object) -> None:
        """Probes are not logged: one every few seconds would drown the rest."""
