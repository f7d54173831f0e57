"""The shim: one small process per pod, parent of its containers. Outlives the daemon and the launcher; has no policy.

It stays small by doing nothing heavy itself. Whatever needs the executor or a parsed configuration, or may have to
wait, is done by a worker: a fork that lives for one request. A worker's children fall to the shim, their subreaper,
when it exits, so the shim is the parent of every container and exec. The worker's memory, all that Python touched to do
the work, goes with it, and so does a worker that hangs on a dead volume: the shim itself never waits for anybody.

    become.py      what a fresh fork of the launcher does to become a shim
    shim.py        the resident part: which verb goes where
    server.py      the socket: one daemon at a time, requests in, answers and events out
    workers.py     one fork for one request, and its result
    loop.py        epoll, and the children's exits
    containers.py  the records of the containers, from created to deleted
    container.py   one record, and its streams
    execs.py       the records of exec'ed processes
    sandbox.py     the descriptors of the pod's namespaces
    streams.py     from pipes and ptys to the log file and to attached clients
    log_file.py    the file, written in whole lines; limited_log.py where there are limits
    foreign.py     exits of processes that are not our children
    records.py     exit records on disk
    description.py all that is known, for a new daemon
    buffer.py, sockets.py   reading and sockets, for few pages
    warm.py, gather.py      in the launcher: rehearsals, and where in memory things lie
    work/          what runs in a worker, one file for each kind of work
    handlers/      containers run by another OCI runtime, in workers as well

One thread, one loop, no timers but one: when there has been nothing to do for a while, pages that are again what they
were in the launcher are given back (`oci.originals`). Sockets, pipes and sinks are non-blocking, work per wake is
bounded. It imports the standard library and `oci` only, all of it before the launcher forks: the shim's memory is the
launcher's, page by page, until it writes to it. Calling a function for the first time is such a write.

The directory of a pod's shim (0700):

    <directory>/
        shim.sock               0600, SEQPACKET
        shim.log                only when something unforeseen happened
        <container-id>.exit     written before the exit is told to anybody, removed by delete
"""

from __future__ import annotations
