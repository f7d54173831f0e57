"""The command `coracle`: `serve` is the daemon, the other verbs talk to one through its socket.

`verbs` is the command line as a whole. The daemon is not started through it where it need not be: what a command line
is made of (click, and what that loads) would stay in the daemon's memory for ever.
"""

from __future__ import annotations

import sys


def main() -> None:
    verb, *arguments = sys.argv[1:] or [""]
    if verb == "serve":
        from cri.cli.serving import plain, run

        if (flags := plain(arguments)) is not None:
            run(flags)
            return
    from cri.cli.verbs import commands

    commands()
