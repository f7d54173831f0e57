"""End-to-end drivers: they run Coracle, and its peers, as whole programs on this machine.

Owns starting and stopping of the programs around a test (registry, daemon, containerd, kubelet), the images they
use, the demo, the benchmarks and the conformance harnesses. It imports nothing of the daemon but the generated CRI
stubs: what it tests, it tests from outside.

    debian.py      Debian packages, downloaded and unpacked below .cache/, never installed
    processes.py   background programs: started with a log file, stopped by pid
    registry.py    Debian's docker-registry on loopback
    images/        the images of tests and demos
    client.py      a client of any CRI socket
    daemon.py      `coracle serve` with roots of its own
    containerd.py  Debian's containerd, the peer
    cri/           our CRI conformance suite, for any runtime
    scale/         many pods, many probes, a terminal
    leaks.py       what is left on the machine
    disk.py        a fresh ext4 in a loop device
"""
