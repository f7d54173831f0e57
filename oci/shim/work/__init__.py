"""What runs in a worker of the shim: one request, then the process is gone. May block; may be killed at any point.

namespaces.py  the pod's namespaces, made and entered      pod_init.py  pid 1 of a shared pid namespace
creation.py    a container, until its init waits           becoming.py  the same, where the worker is the init
execution.py   a further process in one                    ending.py    exit records, removal
stdio.py       the descriptors on both sides of a process
checkpoint.py, listener.py   what few containers need

Some of it the shim does itself where nothing has to be waited for: namespaces, exit records, removal.
"""

from __future__ import annotations
