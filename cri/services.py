"""What `coracle serve` serves: the daemon, and the handlers of each service on the socket."""

from __future__ import annotations

from cri.api import coracle_pb2, runtime_pb2
from cri.coracle_service import HANDLERS as CORACLE_HANDLERS
from cri.daemon import Daemon
from cri.image_service import HANDLERS as IMAGE_HANDLERS
from cri.runtime_service import HANDLERS as RUNTIME_HANDLERS
from cri.server import Application


def application() -> Application[Daemon]:
    cri = runtime_pb2.DESCRIPTOR.services_by_name
    own = coracle_pb2.DESCRIPTOR.services_by_name
    return Application(
        open=Daemon.open,
        services=(
            (cri["RuntimeService"], RUNTIME_HANDLERS),
            (cri["ImageService"], IMAGE_HANDLERS),
            (own["Coracle"], CORACLE_HANDLERS),
        ),
    )
