"""`make demo`: a pod from a registry to nothing left, on this machine, step by step, each with what it took.

__main__.py   the order of the steps
steps.py      naming a step, timing it, showing its output
show.py       what is shown of a running pod: page, logs, exec, stats
"""
