"""What a pod's network costs: `python -m tests.bench_networks` (root). p50 and p90 in milliseconds.

Runs in namespaces of its own. The last row is the same pod by the reference plugins, where they are installed.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from cni.execute import find_plugin
from cni.network import Networks
from cni.values import Attachment, BuiltinNetwork, BuiltinSubnet, NetworkSettings, PortMapping
from tests import netns

_V4, _V6 = BuiltinSubnet(subnet="10.86.0.0/16"), BuiltinSubnet(subnet="fd00:86::/64")
_REFERENCE_DIRS = ("/opt/cni/bin", "/usr/lib/cni")


def settings(directory: Path, subnets: Sequence[BuiltinSubnet]) -> NetworkSettings:
    builtin = BuiltinNetwork(bridge="netbench0", subnets=tuple(subnets), data_dir=str(directory / "networks"))
    conf_dir, cache_dir = str(directory / "net.d"), str(directory / "cache")
    return NetworkSettings(conf_dir=conf_dir, bin_dirs=(), cache_dir=cache_dir, builtin=builtin)


def reference(directory: Path) -> NetworkSettings:
    ipam = {"type": "host-local", "dataDir": str(directory / "networks"), "subnet": "10.87.0.0/16"}
    bridge = {"type": "bridge", "bridge": "netbench1", "isGateway": True, "ipMasq": True, "ipam": ipam}
    plugins = [bridge, {"type": "portmap", "capabilities": {"portMappings": True}}]
    (directory / "net.d").mkdir()
    (directory / "net.d" / "a.conflist").write_text(
        json.dumps({"cniVersion": "1.0.0", "name": "reference", "plugins": plugins})
    )
    return NetworkSettings(
        conf_dir=str(directory / "net.d"), bin_dirs=_REFERENCE_DIRS, cache_dir=str(directory / "cache"), builtin=None
    )


async def measure(name: str, chosen: NetworkSettings, bench: netns.Bench, pods: int, ports: int) -> None:
    networks = await Networks.open(chosen)
    adds, deletes = [], []
    for number in range(pods):
        with netns.new_namespace() as pod:
            mappings = tuple(PortMapping(container_port=80, host_port=9000 + ports * number + n) for n in range(ports))
            given = Attachment(sandbox_id=f"{number:064x}", netns_path=pod.path, port_mappings=mappings)
            began = time.perf_counter()
            await networks.add(given)
            added = time.perf_counter()
            await networks.delete(given)
            deletes.append(time.perf_counter() - added)
            adds.append(added - began)
    await networks.close()
    print(f"{name:32} add {_figures(adds)}   delete {_figures(deletes)}   ({pods} pods)")


def _figures(seconds: list[float]) -> str:
    ordered = sorted(seconds)
    return f"{statistics.median(ordered) * 1000:6.2f} {ordered[len(ordered) * 9 // 10] * 1000:6.2f}"


async def main(pods: int) -> None:
    rows = [("IPv4", (_V4,), 0), ("IPv4, 2 host ports", (_V4,), 2), ("dual stack, 2 host ports", (_V4, _V6), 2)]
    for name, subnets, ports in rows:
        with netns.bench() as bench, tempfile.TemporaryDirectory() as directory:
            await measure(f"built-in, {name}", settings(Path(directory), subnets), bench, pods, ports)
    if find_plugin("bridge", _REFERENCE_DIRS):
        for ports in (0, 2):
            with netns.bench() as bench, tempfile.TemporaryDirectory() as directory:
                await measure(f"reference, IPv4, {ports} host ports", reference(Path(directory)), bench, 20, ports)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 60))
