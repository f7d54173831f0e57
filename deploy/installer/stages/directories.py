"""The directories above a path that are not there yet, outermost first."""

from __future__ import annotations

from deploy.installer.host import Host


def missing_directories(host: Host, path: str) -> list[str]:
    """`path` itself included. Those that an earlier run made are listed no more: its record has them."""
    parts = [part for part in path.split("/") if part]
    chain = ["/" + "/".join(parts[:depth]) for depth in range(1, len(parts) + 1)]
    return [one for one in chain if not host.exists(one)]
