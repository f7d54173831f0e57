"""The switch itself, on the host: it must go on when the pod that asked for it has died with the kubelet's old runtime.

state.py    what was asked and how far it is: a note in the journal; the table of moves
units.py    the units that run it: coracle-switch.service, coracle-rollback.service and its timer
steps.py    what is done in order: images, kubelet stopped, old pods removed, files, kubelet started
verify.py   is the node Ready with the runtime that it should have?
agent.py    runs the steps; rolls back when one fails or the node does not come back
script.py   rollback.sh: the same way back for a person, or for a bundle that no longer starts
"""
