"""Whether what this node has is what the records say: `coracle check`, answered by the running daemon.

    faults.py      what is found: a value with words, and a repair where there is one
    images.py      every layer against its seal, every image's record
    pods.py        every pod and container against its shim, namespaces, addresses, cgroup, files
    leftovers.py   what exists here and belongs to no record
    run.py         all of it in order; looks twice before it believes what may have been in motion

Nothing here stops anything that works: a repair fetches a layer again, restores a name, or releases what nobody owns.
"""
