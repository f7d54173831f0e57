"""The processes that do the heavy work of pulls: fetching, inflating, hashing, writing.

    messages    what the daemon and a worker tell each other, one JSON object a line
    process     the worker: a fresh interpreter that serves one job at a time and ends with its socket
    jobs        what a worker does
    pool        the daemon's end: starts workers, reuses them, ends idle ones

A worker that dies fails only its job. Cancelling a job kills its worker: nothing of a pull outlives it, whatever the
network or the name server is waiting for.
"""
