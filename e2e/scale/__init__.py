"""A node at its limits: 500 pods of two containers, a hundred probes a second, a person at a terminal.

python -m e2e.scale            needs root and a quiet machine; a few minutes

crowd.py     lists, statistics, memory and idle CPU with that many pods
probes.py    exec probes at a fixed rate
echo.py      a key stroke's way into a container and back
report.py    the figures beside their goals
"""
