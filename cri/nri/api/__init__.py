"""The messages of NRI (`nri.proto`) and of ttrpc under it (`ttrpc.proto`).

The `_pb2` modules are generated from them by `cri.api.generate` and never edited; a test holds them to the sources.
"""
