"""Peer groups out of a mount table."""

from __future__ import annotations

from cri.propagation import peer_groups

_TABLE = r"""22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
23 22 0:21 / /proc rw - proc proc rw
24 22 0:30 / /a\040b rw shared:7 master:3 - tmpfs none rw
25 22 0:31 / /s rw master:4 - tmpfs none rw
26 22 0:32 / /s rw shared:9 - tmpfs none rw
"""


def test_each_mount_point_has_its_group() -> None:
    assert peer_groups(_TABLE) == {"/": "1", "/proc": "", "/a b": "7", "/s": "9"}
