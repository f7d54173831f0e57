"""The seccomp listener of a starting process, taken out of it and handed to the agent that its profile names."""

from __future__ import annotations

import os

from oci.engine.hooks import state_document
from oci.engine.listener import send_listener
from oci.errors import SpecError
from oci.handshake.launch import take_listener
from oci.shim.container import Container
from oci.shim.work.creation import load_spec
from oci.shim.workers import Outcome


def hand_over(container: Container, pid: int, pidfd: int, number: int) -> Outcome:
    """`pid` and `pidfd` are the process's, the container's init or one that is executed in it; it waits meanwhile for
    the shim's word. No answer: that is given when it has executed."""
    spec = load_spec(container.bundle)
    profile = spec.linux.seccomp
    if profile is None:
        raise SpecError("linux.seccomp", "is gone from the bundle, and with it the agent's address")
    status = "creating" if pid == container.pid else "running"
    state = state_document(container.id, status, container.pid, container.bundle, spec.annotations)
    listener = take_listener(pidfd, number)
    try:
        send_listener(profile, listener, pid, state)
    finally:
        os.close(listener)
    return Outcome(answer=None)
