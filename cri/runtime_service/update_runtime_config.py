"""UpdateRuntimeConfig: the kubelet tells the node's pod CIDR (`cri.pod_cidr`).

Where a CNI configuration gives addresses, this changes nothing that is in use.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from cri import pod_cidr
from cri.api import runtime_pb2 as api
from cri.log_lines import fields

if TYPE_CHECKING:
    from cri.daemon import Daemon
    from cri.rpc import Call

_log = logging.getLogger("cri.runtime_service")


async def update_runtime_config(
    daemon: Daemon, request: api.UpdateRuntimeConfigRequest, call: Call
) -> api.UpdateRuntimeConfigResponse:
    told = request.runtime_config.network_config.pod_cidr
    _log.info("the kubelet's pod CIDR", extra=fields(pod_cidr=told))
    await pod_cidr.take_over(daemon, told)
    return api.UpdateRuntimeConfigResponse()
