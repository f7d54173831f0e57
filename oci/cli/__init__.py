"""coracle-oci: the executor as a command, with runc's verbs and flags, for containerd, Podman and conformance suites.

    dispatch.py   global options, choice of the verb, errors          options.py   the option loop
    *_verb.py     one verb each; only the called one is imported      bundle.py, containers.py, lifecycle.py   shared
    sealing.py    the sealed copy that enters containers          preload.py   a verb's modules from one file

This module stays empty of imports: a verb that enters a container first starts again as a sealed copy of the
interpreter, and whatever was loaded before that is loaded twice.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False  # `typing` is one of the things that would be loaded twice
if TYPE_CHECKING:
    from typing import NoReturn

_ENTERING = frozenset(("create", "run", "exec"))
PRELOADED = frozenset(("create", "delete", "exec", "kill", "list", "pause", "ps", "resume", "run", "start", "state"))


def main() -> NoReturn:
    """Ends the process: taking an interpreter down in good order takes longer than most verbs do."""
    if not _ENTERING.isdisjoint(sys.argv[1:]):
        from oci.cli.sealing import become_sealed

        become_sealed()
    import gc

    # A process this short makes no garbage that is worth looking for.
    gc.disable()
    from oci.cli.preload import load

    load(next((word for word in sys.argv[1:] if word in PRELOADED), ""))
    from oci.cli.dispatch import dispatch

    end(dispatch(sys.argv[1:]))


def end(status: int) -> NoReturn:
    import os

    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        status = status or 1
    os._exit(status)
