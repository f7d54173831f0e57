"""A one-node Kubernetes cluster of plain processes around the runtime, and what users of a node do with it.

    __main__.py       the command line: a network namespace, pytest in it
    namespace.py      the network namespace that everything lives in, and the node's address
    certificates.py   a certificate authority and the certificates of the components
    settings.py       names and addresses that the parts agree on
    kubeconfig.py     who talks to the API server as whom
    components.py     the command lines and configurations of the components
    kubelet_settings.py  the kubelet's configuration
    cluster.py        the components as processes: started in order, stopped, restarted, cleaned up
    published.py      Services of what runs on the node: names, the API of figures
    runtimes.py       Coracle, or Debian's containerd, as the node's runtime
    prepare.py        what needs the outer network, fetched before
    images.py         images of the tests beside those of e2e/images
    api.py            a small client of the API server
    kubectl.py        kubectl as users run it
    manifests.py      objects of the tests
    workload.py       what a test does with pods of its own namespace
    leftovers.py      what is still there when all has gone
    tools.py          builds the programs from their Go modules
    conformance/      Kubernetes' own e2e.test on the same cluster
    test_*.py         the tests, one cluster for all of them

The programs (etcd, kube-apiserver and so on) are the caller's, in one directory: README.md tells how to build them.
"""
