"""What runs in a worker of the shim: one request, then the process is gone. May block; may be killed at any point.

namespaces.py  the pod's namespaces, made and entered      pod_init.py  pid 1 of a shared pid namespace
creation.py    a container, until its init waits           execution.py a further process in one
ending.py      exit records, removal                       description.py  all that is known, for a new daemon
stdio.py       the descriptors on both sides of a process
"""

from __future__ import annotations
