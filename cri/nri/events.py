"""The events that plugins subscribe to, and the calls that carry them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from google.protobuf.message import Message

from cri.nri.api import nri_pb2 as nri

Q = TypeVar("Q", bound=Message)
R = TypeVar("R", bound=Message)

PLUGIN_SERVICE: Final = "nri.pkg.api.v1alpha1.Plugin"
RUNTIME_SERVICE: Final = "nri.pkg.api.v1alpha1.Runtime"

#: The bits of every event there is.
EVERY_EVENT: Final = (1 << (nri.LAST - 1)) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Event(Generic[Q, R]):
    """`formerly` says that plugins of former days get it by StateChange."""

    number: nri.Event.ValueType
    method: str
    request: type[Q]
    response: type[R]
    formerly: bool = False

    @property
    def bit(self) -> int:
        return 1 << (self.number - 1)


RUN_POD_SANDBOX: Final = Event(
    number=nri.RUN_POD_SANDBOX,
    method="RunPodSandbox",
    request=nri.RunPodSandboxRequest,
    response=nri.RunPodSandboxResponse,
    formerly=True,
)
UPDATE_POD_SANDBOX: Final = Event(
    number=nri.UPDATE_POD_SANDBOX,
    method="UpdatePodSandbox",
    request=nri.UpdatePodSandboxRequest,
    response=nri.UpdatePodSandboxResponse,
)
POST_UPDATE_POD_SANDBOX: Final = Event(
    number=nri.POST_UPDATE_POD_SANDBOX,
    method="PostUpdatePodSandbox",
    request=nri.PostUpdatePodSandboxRequest,
    response=nri.PostUpdatePodSandboxResponse,
    formerly=True,
)
STOP_POD_SANDBOX: Final = Event(
    number=nri.STOP_POD_SANDBOX,
    method="StopPodSandbox",
    request=nri.StopPodSandboxRequest,
    response=nri.StopPodSandboxResponse,
    formerly=True,
)
REMOVE_POD_SANDBOX: Final = Event(
    number=nri.REMOVE_POD_SANDBOX,
    method="RemovePodSandbox",
    request=nri.RemovePodSandboxRequest,
    response=nri.RemovePodSandboxResponse,
    formerly=True,
)
CREATE_CONTAINER: Final = Event(
    number=nri.CREATE_CONTAINER,
    method="CreateContainer",
    request=nri.CreateContainerRequest,
    response=nri.CreateContainerResponse,
)
POST_CREATE_CONTAINER: Final = Event(
    number=nri.POST_CREATE_CONTAINER,
    method="PostCreateContainer",
    request=nri.PostCreateContainerRequest,
    response=nri.PostCreateContainerResponse,
    formerly=True,
)
START_CONTAINER: Final = Event(
    number=nri.START_CONTAINER,
    method="StartContainer",
    request=nri.StartContainerRequest,
    response=nri.StartContainerResponse,
    formerly=True,
)
POST_START_CONTAINER: Final = Event(
    number=nri.POST_START_CONTAINER,
    method="PostStartContainer",
    request=nri.PostStartContainerRequest,
    response=nri.PostStartContainerResponse,
    formerly=True,
)
UPDATE_CONTAINER: Final = Event(
    number=nri.UPDATE_CONTAINER,
    method="UpdateContainer",
    request=nri.UpdateContainerRequest,
    response=nri.UpdateContainerResponse,
)
POST_UPDATE_CONTAINER: Final = Event(
    number=nri.POST_UPDATE_CONTAINER,
    method="PostUpdateContainer",
    request=nri.PostUpdateContainerRequest,
    response=nri.PostUpdateContainerResponse,
    formerly=True,
)
STOP_CONTAINER: Final = Event(
    number=nri.STOP_CONTAINER,
    method="StopContainer",
    request=nri.StopContainerRequest,
    response=nri.StopContainerResponse,
)
REMOVE_CONTAINER: Final = Event(
    number=nri.REMOVE_CONTAINER,
    method="RemoveContainer",
    request=nri.RemoveContainerRequest,
    response=nri.RemoveContainerResponse,
    formerly=True,
)
VALIDATE_CONTAINER_ADJUSTMENT: Final = Event(
    number=nri.VALIDATE_CONTAINER_ADJUSTMENT,
    method="ValidateContainerAdjustment",
    request=nri.ValidateContainerAdjustmentRequest,
    response=nri.ValidateContainerAdjustmentResponse,
)
