"""The server behind Exec, Attach and PortForward. Clients reach it by an HTTP upgrade, to SPDY/3.1 or to WebSocket.

    pure        spdy/             SPDY/3.1 framing
                websocket         channels, and a tunnel for SPDY, in WebSocket messages
                http              the request that is upgraded or refused
                handshake         which protocol it is upgraded to
                remote_command    protocol versions, exit statuses, terminal sizes
                tickets           who may come, with which token, until when
                errors
    the wire    flow              how bytes, and the wish for fewer of them, travel between the parts
                wire              one TCP (or TLS) connection
                spdy_session      its SPDY streams       websocket_session   its WebSocket channels, or the tunnel
                descriptors       pumps between a channel and a descriptor
    the work    command           the streams of one exec or attach
                exec, attach
                port_forward      which channels belong together      forward  one connection
                runtime           what they ask of the rest of Coracle; daemon_runtime answers
                pod_sockets       sockets inside a pod's network namespace
    the door    server            `StreamingServer`: listens, checks tokens
                stranger          a client until its request is complete
                jobs              the work for each client
                tls

Back-pressure: a client that reads slowly stops our reading of the process's output; a process that reads slowly stops
our reading from the client. Nothing in between holds more than a few hundred kilobytes. A container's own output is
never held up: for attached clients the shim keeps a bounded backlog and cuts off who falls behind.
"""
