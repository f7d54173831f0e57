"""What can go wrong on a node, by whose move it is.

InstallError
├── Refused          the node is not fit or not meant for this: nothing was changed, a person decides
├── CommandFailed    a program of the host ended with an error
├── NotVerified      the work was done, but the node does not show it in time
├── Busy             another installer works on this node
└── BrokenRecord     the journal cannot be read: undoing by it would be guessing
"""

from __future__ import annotations

from collections.abc import Sequence


class InstallError(Exception):
    """Base of all; its text is for the operator."""


class Refused(InstallError):
    def __init__(self, reason: str, remedy: str = "") -> None:
        super().__init__(f"{reason}: {remedy}" if remedy else reason)
        self.reason = reason
        self.remedy = remedy


class CommandFailed(InstallError):
    def __init__(self, argv: Sequence[str], status: int, output: str) -> None:
        tail = output.strip()[-600:]
        super().__init__(f"{' '.join(argv)}: exit status {status}{f': {tail}' if tail else ''}")
        self.argv = tuple(argv)
        self.status = status
        self.output = output


class NotVerified(InstallError):
    pass


class Busy(InstallError):
    pass


class BrokenRecord(InstallError):
    def __init__(self, path: str, line: int, problem: str) -> None:
        super().__init__(f"journal {path}, line {line}: {problem}")
        self.path = path
        self.line = line
