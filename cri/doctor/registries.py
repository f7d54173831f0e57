"""Registries: hosts.toml files that can be read, and the hosts that they name: reached, and trusted over TLS."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from cri.config.schema import Settings
from cri.doctor.node import Node
from cri.doctor.result import Result, fail, ok, warn
from imagesvc.errors import RegistryConfigError
from imagesvc.registry.hosts import Host, hosts_for
from imagesvc.registry.trust import host_context

_GROUP: Final = "registries"
_PATIENCE_S: Final = 3.0

Greet = Callable[[Host, float], str]
"""Answers "" when the host was reached and, with TLS, trusted; else why not."""


def checks(node: Node, settings: Settings, greet: Greet) -> Iterator[Result]:
    directory = settings.registry_config_path
    domains = [name for name in node.names(directory) if node.path(directory).joinpath(name).is_dir()]
    if not domains:
        yield ok(_GROUP, "configuration", f"none in {directory}: each registry is asked itself, over TLS")
        return
    for name in domains:
        yield from _domain(node.path(directory), name, greet)


def _domain(directory: Path, name: str, greet: Greet) -> Iterator[Result]:
    domain = _domain_of(name)
    try:
        hosts = hosts_for(domain, directory)
    except RegistryConfigError as error:
        yield fail(_GROUP, name, str(error), "mend the file: pulls from this registry fail")
        return
    if name == "_default":
        hosts = tuple(host for host in hosts if "_default" not in host.base)
    problems = []
    for host in hosts:
        reason = greet(host, _PATIENCE_S)
        if not reason:
            yield ok(_GROUP, name, f"{host.base} answers")
            continue
        problems.append(f"{host.base}: {reason}")
    # One of several is enough to pull; that others are gone costs a pull the time to find out.
    for problem in problems:
        verdict = warn if len(problems) < len(hosts) else fail
        yield verdict(_GROUP, name, problem, "start it, correct its address or certificate, or remove it from the file")


def _domain_of(name: str) -> str:
    """host_port_ is how a directory is called where a colon is not allowed."""
    host, _, port = name.rstrip("_").rpartition("_")
    return f"{host}:{port}" if name.endswith("_") and host and port.isdigit() else name


def greet(host: Host, timeout: float) -> str:
    parts = urlsplit(host.base)
    name, port = parts.hostname or "", parts.port or (443 if host.secure else 80)
    try:
        with socket.create_connection((name, port), timeout) as connection:
            if host.secure:
                with _context(host).wrap_socket(connection, server_hostname=name):
                    pass
    except ssl.SSLCertVerificationError as error:
        return f"its certificate is not trusted: {error.verify_message}"
    except OSError as error:
        return error.strerror or str(error) or "timed out"
    return ""


def _context(host: Host) -> ssl.SSLContext:
    context = host_context()
    for path in host.tls.ca:
        context.load_verify_locations(path)
    if host.tls.skip_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
