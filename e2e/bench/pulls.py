"""Pull and removal of an image with many small files: time, processor time, disk."""

from __future__ import annotations

import os
import statistics
import time

from cri.api import runtime_pb2 as pb
from e2e.bench.bed import Contender
from e2e.bench.cpu import machine_seconds


def measure(contender: Contender, times: int) -> dict[str, float]:
    """Medians of `times` pulls, each of an image that was removed before."""
    samples = [_once(contender) for _ in range(times)]
    return {name: statistics.median(sample[name] for sample in samples) for name in samples[0]}


def _once(contender: Contender) -> dict[str, float]:
    reference = contender.images.files
    used = _used(contender)
    cpu, began = machine_seconds([contender.registry_pid]), time.perf_counter()
    contender.client.pull(reference)
    pulled = time.perf_counter() - began
    cpu = machine_seconds([contender.registry_pid]) - cpu
    disk = _used(contender) - used
    began = time.perf_counter()
    contender.client.images.RemoveImage(pb.RemoveImageRequest(image=pb.ImageSpec(image=reference)), timeout=60)
    removed = time.perf_counter() - began
    _until_free(contender, used + disk * 0.1)
    return {"pull": pulled, "pull_cpu": cpu, "pull_disk": disk, "remove_image": removed}


def _used(contender: Contender) -> float:
    """Megabytes in use on the disk, everything written."""
    os.sync()
    status = os.statvfs(contender.disk)
    return (status.f_blocks - status.f_bfree) * status.f_frsize / 1e6


def _until_free(contender: Contender, megabytes: float, seconds: float = 30) -> None:
    """Some runtimes answer RemoveImage before they delete: the next pull must not find the old content."""
    deadline = time.monotonic() + seconds
    while _used(contender) > megabytes and time.monotonic() < deadline:
        time.sleep(0.2)
