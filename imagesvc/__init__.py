"""Images: pulled from registries, kept as layers, mounted for containers. Serves the daemon through `imagesvc.service`.

reference, digest, document, manifest, platforms, config     pure: names and documents
registry/     pure: credentials, hosts.toml, the distribution protocol; the transport and the client that drive it
layer/        tar streams parsed, written as one EROFS file or as a directory tree
worker/       the processes that fetch and write, and the daemon's end of them
store/        records in SQLite and in memory
mounts        layers mounted once, overlays made of them
service       what the daemon calls
"""
