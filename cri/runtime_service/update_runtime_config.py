"""UpdateRuntimeConfig: the kubelet tells the node's pod CIDR.

Addresses are given out as the CNI configuration says, so this changes nothing.
"""

from __future__ import annotations

import logging

from cri.api import runtime_pb2 as api
from cri.log_lines import fields
from cri.rpc import Call

_log = logging.getLogger("cri.runtime_service")


async def update_runtime_config(
    daemon: object, request: api.UpdateRuntimeConfigRequest, call: Call
) -> api.UpdateRuntimeConfigResponse:
    _log.info("the kubelet's pod CIDR", extra=fields(pod_cidr=request.runtime_config.network_config.pod_cidr))
    return api.UpdateRuntimeConfigResponse()
