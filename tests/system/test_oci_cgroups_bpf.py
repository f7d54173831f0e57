"""Device programs of cgroup v2 in the kernel. The unified hierarchy serves, even where its controllers are on v1."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from oci import syscalls
from oci.cgroups.bpf import load, replace_device_program
from oci.cgroups.devices import effective, v2_program
from oci.cgroups.files import ControlFiles, remove_tree
from oci.cgroups.hierarchies import parse_mountinfo
from oci.spec import DeviceRule

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]
DENY_ALL = DeviceRule(allow=False, access="rwm")


@pytest.fixture
def directory() -> Iterator[str]:
    mount_point = parse_mountinfo(Path("/proc/self/mountinfo").read_text()).v2
    if mount_point is None:
        pytest.skip("the unified hierarchy is not mounted")
    path = f"{mount_point}/coracle-test-{uuid.uuid4().hex[:12]}"
    os.mkdir(path)
    yield path
    remove_tree(ControlFiles(), path, lambda: ())


def opens(directory: str, device: str) -> bool:
    """Whether a process in the cgroup may open the device."""
    fd = os.open(directory, os.O_PATH)
    pid, pidfd = syscalls.clone3(0, cgroup_fd=fd)
    if pid == 0:
        try:
            os.open(device, os.O_RDONLY)
            os._exit(0)
        except PermissionError:
            os._exit(13)
        except BaseException:
            os._exit(1)
    with syscalls.closing(fd, pidfd):
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert status in (0, 13)
    return status == 0


def test_the_kernels_verifier_takes_programs_of_any_size() -> None:
    for count in (1, 10, 300):
        rules = [
            DeviceRule(allow=bool(minor % 2), type="c", major=1, minor=minor, access="rm") for minor in range(count)
        ]
        program = v2_program([DENY_ALL, *rules])
        assert program is not None
        os.close(load(program))


def test_a_program_is_enforced_replaced_and_taken_away(directory: str) -> None:
    replace_device_program(directory, v2_program(effective((DENY_ALL,))))
    assert opens(directory, "/dev/null")
    assert not opens(directory, "/dev/loop-control")
    more = DeviceRule(allow=True, type="c", major=10, minor=237, access="rw")
    replace_device_program(directory, v2_program(effective((DENY_ALL, more))))
    assert opens(directory, "/dev/loop-control")
    replace_device_program(directory, v2_program((DENY_ALL,)))
    assert not opens(directory, "/dev/null")
    replace_device_program(directory, None)
    assert opens(directory, "/dev/null")
