"""Everything that can go wrong in the executor. Owns the error types; decides nothing.

    OciError
    ├── SpecError              a config.json (or process.json) is malformed or contradicts itself: its writer's fault
    ├── Unsupported            the request is valid, but this host or kernel lacks what it needs
    ├── ContainerError         a step of creating, starting or entering a container failed (stage, errno, message)
    ├── HookError              a hook failed or outlived its timeout
    ├── CgroupError            a cgroup operation failed (path, cause)
    ├── BusError               systemd cannot be spoken to, or answered with an error (name, message)
    ├── SeccompError           a seccomp profile cannot be compiled
    ├── UserLookupError        a user or group named in a request does not exist in the root filesystem
    └── StateError             the container is not in a state that allows the request
        ├── ContainerNotFound
        └── ContainerExists

Operands are attributes; the message is lower case, without a full stop, and names the object and the path.
"""

from __future__ import annotations

import errno as errno_codes


class OciError(Exception):
    """Root of the tree; never raised itself."""


class SpecError(OciError):
    """`field` is the path of the property in the JSON document, like `linux.namespaces[2].path`."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"invalid config: {field}: {problem}" if field else f"invalid config: {problem}")
        self.field = field
        self.problem = problem


class Unsupported(OciError):
    def __init__(self, feature: str, reason: str) -> None:
        super().__init__(f"{feature} is not supported here: {reason}")
        self.feature = feature
        self.reason = reason


class ContainerError(OciError):
    """`stage` is the step that failed as its operation describes it; `errno` is 0 where no system call failed."""

    def __init__(self, stage: str, errno: int, message: str) -> None:
        super().__init__(f"{stage}: {message}" if stage else message)
        self.stage = stage
        self.errno = errno
        self.message = message

    @property
    def not_found(self) -> bool:
        """The program to execute (or its interpreter) does not exist in the container."""
        return self.errno == errno_codes.ENOENT and self.stage.startswith("exec")


class HookError(OciError):
    """`kind` is the property of the config (`createRuntime`), `index` the place in its list."""

    def __init__(self, kind: str, index: int, path: str, problem: str) -> None:
        super().__init__(f"{kind} hook {problem}: {path} (hooks.{kind}[{index}])")
        self.kind = kind
        self.index = index
        self.path = path
        self.problem = problem


class CgroupError(OciError):
    def __init__(self, path: str, problem: str, errno: int = 0) -> None:
        super().__init__(f"cgroup {path}: {problem}")
        self.path = path
        self.problem = problem
        self.errno = errno


class BusError(OciError):
    """`name` is the error's on the bus, empty where there was no answer."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(f"{name}: {message}" if name else message)
        self.name = name
        self.message = message


class SeccompError(OciError):
    def __init__(self, problem: str) -> None:
        super().__init__(f"seccomp: {problem}")
        self.problem = problem


class UserLookupError(OciError):
    def __init__(self, user: str, problem: str) -> None:
        super().__init__(f"user {user!r}: {problem}")
        self.user = user
        self.problem = problem


class StateError(OciError):
    def __init__(self, container_id: str, problem: str) -> None:
        super().__init__(f"container {container_id!r}: {problem}")
        self.container_id = container_id
        self.problem = problem


class ContainerNotFound(StateError):
    def __init__(self, container_id: str) -> None:
        super().__init__(container_id, "does not exist")


class ContainerExists(StateError):
    def __init__(self, container_id: str) -> None:
        super().__init__(container_id, "exists already")
