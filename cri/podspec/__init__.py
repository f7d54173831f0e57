"""A v1 Pod manifest as the CRI messages that run it: what `coracle play` sends. Pure: values in, values out.

Owns the translation and the list of what it understands. It reads no file, makes no directory and calls no daemon; the
plan it answers says which directories the caller has to make. A field it does not know is named in a notice, never
silently dropped; one that changes what runs, and that it cannot honour, is an error.

    reader.py      typed access to the manifest, with the path of each field for messages
    quantity.py    Kubernetes quantities: 64Mi, 500m
    volumes.py     hostPath and emptyDir volumes, and their mounts
    sandbox.py     the pod's own part
    containers.py  one container
    plan.py        the values that come out, and `translate`
"""

from cri.podspec.plan import Directory, Plan, PlannedContainer, translate
from cri.podspec.reader import ManifestError

__all__ = ["Directory", "ManifestError", "Plan", "PlannedContainer", "translate"]
