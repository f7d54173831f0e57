"""Everything that can go wrong with pod networks. Owns the error types; decides nothing.

    CniError
    ├── ConfigError            a network configuration file is malformed: its writer's fault (path, field, problem)
    ├── NetworkNotReady        no network can serve pods now (reason, message as in the runtime's status)
    ├── InvalidAttachment      the caller asks for something that no network can do (field, problem)
    ├── PluginError            a plugin ran and said no (plugin, verb, code, message, details)
    ├── PluginFailed           a plugin could not be run, died, hung, or answered nonsense (plugin, verb, problem)
    ├── ResultError            a plugin's result does not follow its version of the specification
    ├── NetlinkError           the kernel refused a step of the built-in network (step, errno, kernel's own text)
    ├── AddressesExhausted     no free address is left in a range (network, range)
    ├── PortConflict           a host port is taken already (protocol, host address, port, owner where known)
    ├── CheckFailed            an attachment no longer looks as it was made (sandbox, problem)
    └── NetworkTimeout         a verb outlived its deadline (network, verb, seconds)

Operands are attributes; the message is lower case, without a full stop, and names the object and the path.
"""

from __future__ import annotations

import os


class CniError(Exception):
    """Root of the tree; never raised itself."""


class ConfigError(CniError):
    def __init__(self, path: str, field: str, problem: str) -> None:
        super().__init__(f"network config {path}: {field}: {problem}" if field else f"network config {path}: {problem}")
        self.path = path
        self.field = field
        self.problem = problem


class NetworkNotReady(CniError):
    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class InvalidAttachment(CniError):
    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"invalid {field}: {problem}")
        self.field = field
        self.problem = problem


class PluginError(CniError):
    """`code`, `message` and `details` are the plugin's own (CNI 1.1, section 5, Error)."""

    def __init__(self, plugin: str, verb: str, code: int, message: str, details: str = "") -> None:
        text = f"{message}; {details}" if details else message
        super().__init__(f'plugin "{plugin}" failed ({verb}, code {code}): {text}')
        self.plugin = plugin
        self.verb = verb
        self.code = code
        self.message = message
        self.details = details


class PluginFailed(CniError):
    def __init__(self, plugin: str, verb: str, problem: str) -> None:
        super().__init__(f'plugin "{plugin}" failed ({verb}): {problem}')
        self.plugin = plugin
        self.verb = verb
        self.problem = problem


class ResultError(CniError):
    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"invalid result: {field}: {problem}")
        self.field = field
        self.problem = problem


class NetlinkError(CniError):
    """`step` says what was asked of the kernel; `detail` is the kernel's extended message, empty where it gave none."""

    def __init__(self, step: str, errno: int, detail: str = "") -> None:
        text = f"{os.strerror(errno)} ({detail})" if detail else os.strerror(errno)
        super().__init__(f"{step}: {text}")
        self.step = step
        self.errno = errno
        self.detail = detail


class AddressesExhausted(CniError):
    def __init__(self, network: str, ranges: str) -> None:
        super().__init__(f'no address is left in {ranges} of network "{network}"')
        self.network = network
        self.ranges = ranges


class PortConflict(CniError):
    def __init__(self, protocol: str, host_ip: str, host_port: int, owner: str = "") -> None:
        holder = f" by {owner}" if owner else ""
        super().__init__(f"host port {protocol} {host_ip or '*'}:{host_port} is already taken{holder}")
        self.protocol = protocol
        self.host_ip = host_ip
        self.host_port = host_port
        self.owner = owner


class CheckFailed(CniError):
    def __init__(self, sandbox_id: str, problem: str) -> None:
        super().__init__(f"network of sandbox {sandbox_id}: {problem}")
        self.sandbox_id = sandbox_id
        self.problem = problem


class NetworkTimeout(CniError):
    def __init__(self, network: str, verb: str, seconds: float) -> None:
        super().__init__(f'network "{network}": {verb} took longer than {seconds:g} s')
        self.network = network
        self.verb = verb
        self.seconds = seconds
