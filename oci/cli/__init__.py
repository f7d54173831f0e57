"""coracle-oci: the executor as a command, with runc's verbs and flags, for containerd, Podman and conformance suites.

    dispatch.py   global options, choice of the verb, errors          options.py   the option loop
    *_verb.py     one verb each; only the called one is imported      bundle.py, lifecycle.py   what verbs share
    sealing.py    the sealed copy that enters containers

This module stays empty of imports: a verb that enters a container first starts again as a sealed copy of the
interpreter, and whatever was loaded before that is loaded twice.
"""

from __future__ import annotations

import sys
from typing import Final

_ENTERING: Final = frozenset(("create", "run", "exec"))


def main() -> int:
    if not _ENTERING.isdisjoint(sys.argv[1:]):
        from oci.cli.sealing import become_sealed

        become_sealed()
    from oci.cli.dispatch import dispatch

    return dispatch(sys.argv[1:])
