"""The interfaces on the socket: `runtime.proto` is the CRI (package runtime.v1), `coracle.proto` our own small service.

`runtime_pb2`, `coracle_pb2` and their `_grpc` companions are generated from the two by `cri.api.generate` and never
edited; a test holds them to the sources.
"""
