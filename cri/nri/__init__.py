"""The Node Resource Interface (NRI 0.12): plugins that see, refuse and adjust what becomes of pods and containers.

A plugin connects to a socket, or is started by the daemon with one; either way one connection carries both directions.

    plugin process ── unix socket ── mux ─┬─ 1: ttrpc, we call:  Configure, Synchronize, the events
                                          └─ 2: ttrpc, it calls: RegisterPlugin, UpdateContainers

    mux, ttrpc      the bytes, as sans-IO                    connection   the two on a socket
    plugin          one plugin, from registration to loss    launch       plugins from a directory
    adaptation      who is called when, in which order       server       the socket
    collected       adjustments of several plugins as one    adjust       an adjustment applied to a runtime-spec
    views           records and specs as NRI shows them      lifecycle    what the RPC handlers call

Nothing of this runs, and no handler waits, while no plugin is connected.
"""
