"""Images that bring Coracle to nodes, made from a bundle without a container engine.

installer   the bundle, and the client of the API server beside it: what the Helm chart's DaemonSet runs
kind        kind's node image with Coracle in containerd's place, on top of a base image that is given

contents.py   the files that a kind node needs: values       installer.py, kind.py   each image's layers
base_image.py a base image read from an archive              archive.py              one file for `kind load`
__main__.py   `make node-images`
"""
