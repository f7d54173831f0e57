"""What CRIU is told when processes come back; CRIU itself is not here."""

from __future__ import annotations

import pytest

from oci.checkpoint.restore import lsm_profile
from oci.spec import Process, Spec


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ({}, None),
        ({"apparmorProfile": "coracle-default"}, "apparmor:coracle-default"),
        ({"selinuxLabel": "u:r:t:s0:c1,c2"}, "selinux:u:r:t:s0:c1,c2"),
    ],
)
def test_the_label_is_that_of_the_configuration(labels: dict[str, str], expected: str | None) -> None:
    process = Process.from_json({"cwd": "/", "args": ["x"], **labels})
    assert lsm_profile(Spec(oci_version="1.3.0", process=process)) == expected


def test_without_a_process_there_is_no_label() -> None:
    assert lsm_profile(Spec(oci_version="1.3.0")) is None
