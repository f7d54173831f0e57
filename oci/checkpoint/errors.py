"""What can go wrong with CRIU; see `oci.errors` for the tree these belong to."""

from __future__ import annotations

from oci.errors import ContainerError


class CriuFailed(ContainerError):
    """CRIU answered that it could not; the message is its own words."""

    def __init__(self, stage: str, errno: int, problem: str) -> None:
        super().__init__(stage, errno, f"criu: {problem}")


class MalformedAnswer(ContainerError):
    def __init__(self, problem: str) -> None:
        super().__init__("read criu's answer", 0, f"it is malformed: {problem}")


class Distrusted(ContainerError):
    """A restored container has more than its config gives it: the archive was made to get out. It is killed."""

    def __init__(self, problem: str) -> None:
        super().__init__("check the restored container", 0, f"{problem}; it was killed")
