"""Kubernetes' own end-to-end tests on the cluster of this package: which, on what images, and what came of them.

__main__.py   the command line: `python -m e2e.kube.conformance --bin DIRECTORY`
images.py     stand-ins for the images that the tests pull
selection.py  which specs run, and why some cannot
"""
