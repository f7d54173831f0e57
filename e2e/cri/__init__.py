"""A conformance suite for CRI runtimes: what the interface and the kubelet rely on, asked over the socket alone.

    pytest e2e/cri                                    starts Coracle
    pytest e2e/cri --cri-runtime=containerd           starts Debian's containerd, which proves the suite
    pytest e2e/cri --cri-endpoint=unix:///run/x.sock  any runtime that runs already

Each test states one contract and where it comes from, in the suite's own words: "proto" is the commentary of the CRI's
api.proto, "kubelet" what the kubelet's code needs, "client" what its CRI client checks, "crictl" what that tool needs.
The suite knows the runtime by its gRPC socket, by the paths that the CRI makes public (logs, mounts), and by what the
containers themselves say; it reads nothing of a runtime's own files.

    conftest.py      options; the runtime under test; expected differences
    target.py        starting a runtime, and the images that the tests pull
    pods.py          making pods and containers, and waiting for what must come true
    differences/     per runtime: test -> the reason why it fails there. Such a test must fail: a surprise is an error
    test_*.py        the contracts, by topic
"""
