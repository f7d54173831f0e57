"""The Container Device Interface: what a vendor wants done to a container that gets one of its devices.

    document   a specification file as values, and what is refused in one. Pure
    apply      the edits of some devices done to an OCI specification. Pure
    catalog    the files of the configured directories, and which device each name means

Follows the CDI specification 1.1 (SPEC.md of cncf-tags/container-device-interface). Files are read when a container
asks for a device: there are few, and what is read is what is there.
"""

from __future__ import annotations
