"""The stages of an install and of a switch, in order. `uninstall` undoes them in reverse."""

from __future__ import annotations

from typing import Final

from deploy.installer.stages.artifacts import Artifacts
from deploy.installer.stages.claim import Claim
from deploy.installer.stages.configuration import Configuration
from deploy.installer.stages.cordon import Cordon
from deploy.installer.stages.hand_over import HandOver
from deploy.installer.stages.host_check import HostCheck
from deploy.installer.stages.permission import Permission
from deploy.installer.stages.stage import Stage
from deploy.installer.stages.unit import Unit

INSTALL: Final[tuple[Stage, ...]] = (HostCheck(), Claim(), Artifacts(), Configuration(), Unit())
SWITCH: Final[tuple[Stage, ...]] = (Permission(), Cordon(), HandOver())

__all__ = ["INSTALL", "SWITCH", "Stage"]
