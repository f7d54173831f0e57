"""The node as the API server sees it. Only `kubernetes_node.py` and `drain.py` import the kubernetes client.

node.py             what the installer asks of a node (the seam), and the values of its label
kubernetes_node.py  the same through the kubernetes client: in the pod
kubeconfig.py       a node read with the kubelet's own credentials, by the standard library: on the host
drain.py            eviction of a node's pods
"""
