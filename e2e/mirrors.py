"""A registry configuration directory (hosts.toml per host name) that sends other hosts' images to a local registry."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


def write_mirrors(directory: Path, mirrors: Mapping[str, str]) -> Path:
    """`mirrors` maps a host name to the HOST:PORT that serves its images over plain HTTP, and nothing else does."""
    directory.mkdir(parents=True, exist_ok=True)
    for host, address in mirrors.items():
        (directory / host).mkdir(exist_ok=True)
        (directory / host / "hosts.toml").write_text(
            f'server = "http://{address}"\n\n[host."http://{address}"]\n  capabilities = ["pull", "resolve"]\n'
        )
    return directory
