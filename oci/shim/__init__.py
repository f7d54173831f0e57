"""The shim: one small process per pod, parent of its containers. Outlives the daemon and the launcher; has no policy.

    become.py      what a fresh fork of the launcher does to become a shim of its own
    run.py         the parts put together, and the verbs
    loop.py        epoll, and the children's exits
    server.py      the socket: one daemon at a time, requests in, answers and events out
    sandbox.py     the pod's namespaces: made, adopted, ended
    pod_init.py    pid 1 of a shared pid namespace
    containers.py  the containers, from create to delete
    container.py   what is known of one, and its streams
    creation.py    making one
    adoption.py    taking over one whose shim died
    engine.py      the executor's children, driven by the loop
    stdio.py       the descriptors on both sides of a process
    foreign.py     exits of processes that are not our children
    execs.py       exec'ed processes
    streams.py     from pipes and ptys to the log file and to attached clients
    log_file.py    the file, written in whole lines
    records.py     exit records on disk

One thread, one loop, no timers. Nothing here may wait for anybody: sockets, pipes and sinks are non-blocking, work per
wake is bounded. It imports the standard library and `oci` only, all of it before the launcher forks: the shim's memory
is the launcher's, page by page, until it writes to it.

The directory of a pod's shim (0700):

    <directory>/
        shim.sock               0600, SEQPACKET
        shim.log                only when something unforeseen happened
        <container-id>.exit     written before the exit is told to anybody, removed by delete
"""

from __future__ import annotations
