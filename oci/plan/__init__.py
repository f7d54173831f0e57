"""Config to steps: the pure half of the executor. Owns every decision about what is done and in which order.

container.py   plan_container: config.json -> Plan          exec.py       plan_exec: process.json -> Plan
namespaces.py  made, joined, by whom                        process.py    privileges, limits, filter, execve
mounts.py      mounts[] -> operations                       scheduling.py kernel numbers of policies
mount_options.py, sysctls.py, devices.py, rlimits.py        operations.py the vocabulary
host.py        what a plan depends on besides the config
"""
