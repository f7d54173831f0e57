"""Benchmarks of CRI runtimes over their sockets, side by side in one run.

    __main__.py   the command line
    goals.py      what is measured, and the goal of each measure: data
    bed.py        disk, registry, images and runtimes of one run
    latency.py    each RPC of a pod's life, one after the other, the runtimes taking turns
    parallel.py   execs and pods in parallel, CPU for each
    crowd.py      50 pods: memory, idle CPU, lists, restart of the daemon
    logs.py       log throughput
    pulls.py      pull and removal of an image of many files
    cpu.py        processor time of processes and of the machine
    report.py     the table with ratios, and the same as JSON

A measure is a name in `goals`; every module answers values by those names.
"""
