"""All checks in the order in which they are shown."""

from __future__ import annotations

import time
from collections.abc import Iterator

from cri.config.schema import Settings
from cri.doctor import cgroups, disks, kernel, kubelet, network, others, registries, sysctls
from cri.doctor.node import Node
from cri.doctor.probes import KernelProbes, Probes
from cri.doctor.result import Result


def examine(settings: Settings, node: Node | None = None, probes: Probes | None = None) -> Iterator[Result]:
    node = node or Node()
    yield from kernel.checks(node, probes or KernelProbes(disks.nearest(settings.root)))
    yield from cgroups.checks(node, settings)
    yield from sysctls.checks(node)
    yield from network.checks(node, settings)
    yield from registries.checks(node, settings, registries.greet)
    yield from kubelet.checks(node, settings)
    yield from disks.checks(node, settings, disks.measure)
    yield from others.checks(node, settings, time.time())
