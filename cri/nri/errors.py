"""What can go wrong between the daemon and its plugins.

NriError
├── ProtocolError          bytes that no plugin may send: the connection is closed
├── PluginGone             the connection ended, or an answer took too long: the plugin is dropped
├── CallFailed             the plugin answered a call with an error: its decision, not a defect
├── RegistrationFailed     the plugin never came to be one
└── PluginRefused          what a caller of the CRI is told; also a CriError (Unknown), so that it passes the handlers
    └── AdjustmentConflict two plugins want to set the same thing
"""

from __future__ import annotations

from cri.errors import Unknown


class NriError(Exception):
    """Root of the tree; never raised itself."""


class ProtocolError(NriError):
    pass


class PluginGone(NriError):
    pass


class CallFailed(NriError):
    """`code` is a gRPC status code, `text` the plugin's own words."""

    def __init__(self, method: str, code: int, text: str) -> None:
        super().__init__(f"{method}: {text or 'no reason given'} (code {code})")
        self.method = method
        self.code = code
        self.text = text


class RegistrationFailed(NriError):
    pass


class PluginRefused(NriError, Unknown):
    """`plugin` is its index and name, `problem` what it said or what is wrong with what it asked for."""

    def __init__(self, plugin: str, problem: str) -> None:
        super().__init__(f"NRI plugin {plugin}: {problem}")
        self.plugin = plugin
        self.problem = problem


class AdjustmentConflict(PluginRefused):
    """`field` is what both want to set, `other` the plugin that came first."""

    def __init__(self, plugin: str, field: str, other: str) -> None:
        super().__init__(plugin, f"wants to set {field}, which plugin {other} has set")
        self.field = field
        self.other = other
