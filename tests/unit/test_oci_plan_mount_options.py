"""Mount options: the specification's lists are known, later ones win, the rest is data."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oci import syscalls as sc
from oci.plan.mount_options import ATTRIBUTES, known_options, parse_options

MUST = frozenset(
    "async atime bind defaults dev diratime dirsync exec iversion lazytime loud noatime nodev nodiratime noexec"  # noqa: SIM905
    " noiversion nolazytime norelatime nostrictatime nosuid private rbind relatime remount ro rprivate rshared rslave"
    " runbindable rw shared silent slave strictatime suid sync unbindable".split()
)
SHOULD = frozenset(
    "rro rrw rnosuid rsuid rnodev rdev rnoexec rexec rnodiratime rdiratime rrelatime rnoatime rstrictatime"  # noqa: SIM905
    " idmap ridmap nosymfollow symfollow".split()
)


@pytest.mark.parametrize("option", sorted(MUST | SHOULD | {"tmpcopyup", "mand", "nomand"}))
def test_listed_options_are_not_data(option: str) -> None:
    assert parse_options([option]).data == ()
    assert option in known_options()


@given(st.lists(st.sampled_from(sorted(ATTRIBUTES))))
def test_no_attribute_is_set_and_cleared_but_the_access_time_field(options: list[str]) -> None:
    parsed = parse_options(options)
    assert parsed.set & parsed.clear & ~sc.MOUNT_ATTR__ATIME == 0


def test_later_options_win() -> None:
    assert parse_options(["ro", "rw"]).set == 0
    assert parse_options(["rw", "ro"]).readonly
    atime = parse_options(["noatime", "strictatime"])
    assert atime.set == sc.MOUNT_ATTR_STRICTATIME
    assert atime.clear == sc.MOUNT_ATTR__ATIME


def test_recursive_ones_are_apart() -> None:
    parsed = parse_options(["ro", "rnosuid", "rslave", "private", "size=1k", "newinstance"])
    assert (parsed.set, parsed.recursive_set) == (sc.MOUNT_ATTR_RDONLY, sc.MOUNT_ATTR_NOSUID)
    assert parsed.propagation == ((sc.MS_SLAVE, True), (sc.MS_PRIVATE, False))
    assert parsed.data == ("size=1k", "newinstance")
