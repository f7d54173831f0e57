"""What the daemon looks up about its host."""

from __future__ import annotations

import socket

import pytest

from cri.host import interface_mtu


def test_the_mtu_of_an_interface_is_asked_of_the_kernel() -> None:
    name = socket.if_nameindex()[0][1]
    assert interface_mtu(name) >= 68


def test_an_interface_that_is_not_there() -> None:
    with pytest.raises(OSError, match="No such device"):
        interface_mtu("absent0")
