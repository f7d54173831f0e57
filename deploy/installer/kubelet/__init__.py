"""How this node's kubelet is started, and the edits that give it another runtime.

unit.py     what systemd knows of it: its command line, its environment files (pure)
forms.py    kubeadm, kind, minikube, a plain unit; or refused, with the words for it (pure)
plan.py     the files to change for a form
"""
