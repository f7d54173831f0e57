"""A small D-Bus client, for systemd. Standard library only, blocking, one call at a time.

    wire.py         messages as bytes and back                pure
    connection.py   a socket: authentication, calls, signals

It exists because who makes scopes may be the command line (where an import costs more than the call) or a thread of the
daemon; neither wants a library with an event loop of its own. Owns no knowledge of systemd's units.
"""
