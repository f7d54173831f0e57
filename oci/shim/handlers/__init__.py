"""Containers run by another OCI runtime (runc, crun, Kata's) in our executor's stead; the shim stays their parent.

    program   the runtime's executable, run to its end
    bundle    config.json as such a runtime wants it, the root file system and volumes at paths
    verbs     create, start, kill, exec and delete by its command line

All of it runs in workers. The worker is the subreaper of what the runtime leaves behind until it has a pidfd of it, so
that no pid is taken for another's; then it ends, and the process is the shim's child like any other.
"""

from __future__ import annotations
