"""What a single value must satisfy beyond its type. Each check returns what is wrong, or "" when nothing is.

Pure: whether a path exists or an address is free is for the host checks of `coracle serve` to say.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

#: sizeof(sun_path) less the final zero.
LONGEST_SOCKET_PATH = 107
LONGEST_INTERFACE_NAME = 15
LEAST_LOG_LIMIT = 32768

RLIMIT_NAMES = frozenset(
    name
    for names in (
        ("as", "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue"),
        ("nice", "nofile", "nproc", "rss", "rtprio", "rttime", "sigpending", "stack"),
    )
    for name in names
)


def each(check: Callable[[T], str]) -> Callable[[Sequence[T]], str]:
    return lambda values: next((problem for value in values if (problem := check(value))), "")


def absolute(path: Path) -> str:
    return "" if path.is_absolute() and ".." not in path.parts else f"{str(path)!r} is not an absolute path"


def absolute_or_none(path: Path) -> str:
    return "" if path == Path() else absolute(path)


def unix_address(address: str) -> str:
    """Only unix sockets: the CRI gives root on the node to whoever can connect."""
    if not address:
        return ""
    path = address.removeprefix("unix://")
    if path == address or not path.startswith("/"):
        return f"{address!r} is not of the form unix:///path"
    if len(path.encode()) > LONGEST_SOCKET_PATH:
        return f"{path!r} is longer than {LONGEST_SOCKET_PATH} bytes, the limit for a socket"
    return ""


def host_and_port(address: str) -> str:
    if not address:
        return ""
    host, colon, port = address.rpartition(":")
    if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        return f"{address!r} is not of the form host:port"
    return ""


def split_host_and_port(address: str) -> tuple[str, int]:
    """Of an address that `host_and_port` accepts; brackets around an IPv6 address go."""
    host, _, port = address.rpartition(":")
    return host.removeprefix("[").removesuffix("]"), int(port)


def interface_name(name: str) -> str:
    if name and not re.fullmatch(rf"[A-Za-z0-9_.-]{{1,{LONGEST_INTERFACE_NAME}}}", name):
        return (
            f"{name!r} is not the name of a network interface (at most {LONGEST_INTERFACE_NAME} of A-Z a-z 0-9 _ . -)"
        )
    return ""


def subnet(text: str) -> str:
    try:
        network = ipaddress.ip_network(text)
    except ValueError as error:
        return f"{error}"
    return "" if network.num_addresses >= 8 else f"{text!r} has no room for pods"


def not_negative(number: float) -> str:
    return "" if number >= 0 else f"{number} is negative"


def log_limit(size: int) -> str:
    """The longest line that the log is cut into, and its time, must fit."""
    return "" if size == 0 or size >= LEAST_LOG_LIMIT else f"{size} is neither 0 nor at least {LEAST_LOG_LIMIT}"


def positive(number: float) -> str:
    return "" if number > 0 else f"{number} is not above 0"


def per_million(number: int) -> str:
    return "" if 0 <= number <= 1_000_000 else f"{number} is not between 0 and 1000000"


def mtu(number: int) -> str:
    return "" if number == 0 or 576 <= number <= 65535 else f"{number} is not 0 or between 576 and 65535"


def port(number: int) -> str:
    return "" if 0 <= number <= 65535 else f"{number} is not a port"


def capability(name: str) -> str:
    return "" if re.fullmatch(r"(CAP_)?[A-Z][A-Z0-9_]*", name) else f"{name!r} is not the name of a capability"


def ulimit(text: str) -> str:
    name, _, limits = text.partition("=")
    soft, colon, hard = limits.partition(":")
    if name not in RLIMIT_NAMES or not all(
        re.fullmatch(r"\d+|unlimited", part) for part in (soft, hard) if part or colon
    ):
        return f"{text!r} is not of the form name=soft:hard"
    if not soft:
        return f"{text!r} is not of the form name=soft:hard"
    return ""


def cgroup_path(path: str) -> str:
    if not path.startswith("/") or "//" in path or {".", ".."} & set(path.split("/")):
        return f"{path!r} is not a cgroup path"
    return ""


def handler_name(name: str) -> str:
    """As RuntimeClass wants it: a DNS label."""
    if name == "coracle":
        return "'coracle' is our own executor"
    return "" if re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", name) else f"{name!r} is not a DNS label"
