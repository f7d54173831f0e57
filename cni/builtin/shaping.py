"""A pod's bandwidth: token bucket filters (tc-tbf(8)) on both ends of its link. Pure: numbers in, messages out.

What the pod receives is limited at the host's end; what it sends, at its own end inside, where only a container with
CAP_NET_ADMIN can take the limit away. Needs CONFIG_NET_SCH_TBF.
"""

from __future__ import annotations

import struct
from typing import Final

from cni.builtin.netlink import NLM_F_CREATE, NLM_F_REPLACE, Message, attribute, nested

# linux/rtnetlink.h, linux/pkt_sched.h
_RTM_NEWQDISC: Final = 36
_TC_H_ROOT: Final = 0xFFFFFFFF
_TCA_KIND: Final = 1
_TCA_OPTIONS: Final = 2
_TCA_TBF_PARMS: Final = 1
_TCA_TBF_RATE64: Final = 4
_TCA_TBF_BURST: Final = 6
_TC_LINKLAYER_ETHERNET: Final = 1
_UINT32: Final = 0xFFFFFFFF

#: What may pass at once: a fiftieth of a second's worth, and no less than a segmented packet of 64 KiB.
_BURST_SHARE: Final = 50
_LEAST_BURST: Final = 64 << 10
#: How long a packet may wait before it is dropped.
_QUEUE_SECONDS: Final = 0.1


def limit(index: int, what: str, bits_per_second: int) -> Message:
    """`what` names the direction and the link, for the error of a kernel that cannot do it."""
    rate = max(1, bits_per_second // 8)
    burst = min(max(rate // _BURST_SHARE, _LEAST_BURST), _UINT32)
    queue = min(int(rate * _QUEUE_SECONDS) + burst, _UINT32)
    # cell_log, linklayer, overhead, cell_align, mpu, rate
    speed = struct.pack("=BBHhHI", 0, _TC_LINKLAYER_ETHERNET, 0, 0, 0, min(rate, _UINT32))
    no_peak = bytes(len(speed))
    options = [
        attribute(_TCA_TBF_PARMS, speed + no_peak + struct.pack("=III", queue, 0, 0)),
        attribute(_TCA_TBF_BURST, struct.pack("=I", burst)),
    ]
    if rate > _UINT32:
        options.append(attribute(_TCA_TBF_RATE64, struct.pack("=Q", rate)))
    body = struct.pack("=BxHiIII", 0, 0, index, 0, _TC_H_ROOT, 0)
    body += attribute(_TCA_KIND, b"tbf\0") + nested(_TCA_OPTIONS, *options)
    step = f"limit {what} to {bits_per_second} bit/s (with sch_tbf)"
    return Message(step=step, kind=_RTM_NEWQDISC, body=body, flags=NLM_F_CREATE | NLM_F_REPLACE)
