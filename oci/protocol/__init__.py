"""The wire between the daemon, the launcher and the shims: JSON and descriptors over SEQPACKET sockets.

messages    what can be said, and what answers what
failures    errors as values
packet      messages to bytes and back (pure); version and limits
transport   bytes and descriptors over a socket
"""

from __future__ import annotations
