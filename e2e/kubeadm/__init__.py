"""kubeadm init and reset on the runtime: the control plane, kube-proxy and CoreDNS as pods of the node that they make.

    __main__.py       the command line: namespaces of its own, pytest in them
    host.py           /etc, /var/lib and so on as kubeadm changes them: overlays that nobody else sees
    images.py         the images that kubeadm names, made from the programs
    configuration.py  what kubeadm is told
    node.py           the runtime, the kubelet and kubeadm, as an operator starts them
    conftest.py       one node for all tests, which build on each other
    test_init.py      the tests

The parts that know a cluster are those of e2e/kube.
"""
