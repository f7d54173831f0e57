"""The chart under its tools: helm lint, helm-unittest, and kubeconform for each values file in ci/.

schemas.py      JSON schemas of Kubernetes' kinds, made from its OpenAPI document
monitoring.py   the same for the two kinds of the Prometheus operator, as far as the chart uses them
__main__.py     `make chart`
"""
