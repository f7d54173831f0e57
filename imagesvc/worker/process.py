"""The worker process. Descriptor 0 is a stream socket to the daemon: jobs come in, reports go out.

One thread only waits for the socket: when the daemon's end closes, the process ends at once, in the middle of whatever
it does. What it leaves in the staging directory is the daemon's to remove.
"""

from __future__ import annotations

import os
import queue
import socket
import sys
import threading
import traceback

from imagesvc.worker.jobs import perform
from imagesvc.worker.messages import Failed, Job, LayerJob, Progress, Report, ResolveJob, decode, encode
from oci import syscalls

_NICE = 5  # containers come first


def main() -> None:
    syscalls.set_process_name("coracle-image")
    os.umask(0o022)
    os.nice(_NICE)
    connection = socket.socket(fileno=0)
    jobs: queue.SimpleQueue[Job] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(connection, jobs), name="socket", daemon=True).start()

    def tell(report: Report) -> None:
        try:
            connection.sendall(encode(report))
        except OSError:
            os._exit(1)

    def progress(report: Progress) -> None:
        tell(report)

    while True:
        job = jobs.get()
        try:
            report = perform(job, progress)
        except Exception as error:
            traceback.print_exc(file=sys.stderr)
            cause = f"a defect in the image worker ({type(error).__name__}); see the log"
            report = Failed(kind="defect", reference=job.access.reference, cause=cause)
        tell(report)


def _read(connection: socket.socket, jobs: queue.SimpleQueue[Job]) -> None:
    try:
        with connection.makefile("rb") as lines:
            for line in lines:
                job = decode(line)
                assert isinstance(job, ResolveJob | LayerJob)
                jobs.put(job)
    finally:
        os._exit(0)
