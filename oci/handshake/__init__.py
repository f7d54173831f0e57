"""Between a parent and the child it cloned: messages, what the parent does on request, and the child's progress.

    channel.py  the messages        launch.py  one child on its way, as a state machine        duties.py  callbacks

Apart from the engine, because `coracle-oci start` needs no more than this.
"""
