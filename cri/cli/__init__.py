"""The command `coracle`: `serve` is the daemon, the other verbs talk to one through its socket."""

from __future__ import annotations


def main() -> None:
    from cri.cli.verbs import commands

    commands()
