"""The allow-list of sysctls."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oci.errors import SpecError
from oci.plan.sysctls import check_sysctls, sysctl_path

EVERY = frozenset(("network", "ipc", "uts", "user", "pid", "mount"))


@pytest.mark.parametrize(
    ("name", "owner"),
    [
        ("net.ipv4.ip_forward", "network"),
        ("net/ipv4/conf/eth0.100/forwarding", "network"),
        ("kernel.msgmax", "ipc"),
        ("kernel.shm_rmid_forced", "ipc"),
        ("fs.mqueue.msg_max", "ipc"),
        ("kernel.domainname", "uts"),
        ("user.max_user_namespaces", "user"),
    ],
)
def test_what_belongs_to_a_namespace_needs_it(name: str, owner: str) -> None:
    check_sysctls({name: "1"}, EVERY)
    with pytest.raises(SpecError, match=f"needs a {owner} namespace"):
        check_sysctls({name: "1"}, EVERY - {owner})


@pytest.mark.parametrize(
    "name",
    [
        "kernel.core_pattern", "kernel.hostname", "vm.swappiness", "kernel/msgmax/../core_pattern", "net", "net/../vm",
        "net//core", "", "kernel.msgmax.x", "fs.suid_dumpable", "./net/ipv4", "net/..", "..",
    ],
)  # fmt: skip
def test_everything_else_is_refused(name: str) -> None:
    with pytest.raises(SpecError):
        check_sysctls({name: "1"}, EVERY)


@pytest.mark.parametrize("value", ["1\n2", "1\0"])
def test_values_have_no_control_characters(value: str) -> None:
    with pytest.raises(SpecError, match="control character"):
        check_sysctls({"net.ipv4.ip_forward": value}, EVERY)


@given(st.text(alphabet="netkrlmsgax./", max_size=20))
def test_an_accepted_name_never_climbs(name: str) -> None:
    try:
        check_sysctls({name: "1"}, EVERY)
    except SpecError:
        return
    parts = sysctl_path(name).split("/")
    assert not {"", ".", ".."} & set(parts)
