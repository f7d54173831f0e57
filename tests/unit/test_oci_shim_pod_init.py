"""Pid 1 of a pod: what its empty root is mounted with. That it runs and reaps is a system test's."""

from __future__ import annotations

import pytest

from oci import mounts, syscalls
from oci.shim.work import pod_init


class Mounted(Exception):
    """Ends the way into the root at its first mount."""


@pytest.mark.parametrize(("label", "expected"), [("", ()), ("u:r:t:s0:c1,c2", ("context=u:r:t:s0:c1,c2",))])
def test_the_root_has_the_pods_label(monkeypatch: pytest.MonkeyPatch, label: str, expected: tuple[str, ...]) -> None:
    def make(fstype: str, source: str, options: tuple[str, ...], *, attributes: int) -> int:
        raise Mounted(fstype, options)

    monkeypatch.setattr(syscalls, "mount", lambda *_: None)
    monkeypatch.setattr(mounts, "make_filesystem", make)
    with pytest.raises(Mounted) as ended:
        pod_init._enter_empty_root(label)
    assert ended.value.args == ("tmpfs", ("nr_inodes=1", "mode=0555", *expected))
