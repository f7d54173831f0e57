"""The version of Coracle, of the CRI, and the name under which the kubelet knows this runtime."""

from __future__ import annotations

from typing import Final

from oci.version import VERSION as VERSION

RUNTIME_NAME: Final = "coracle"
#: What the kubelet sends in Version and wants back in `version`.
KUBELET_API_VERSION: Final = "0.1.0"
CRI_VERSION: Final = "v1"
