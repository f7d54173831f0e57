"""Images: pulled from registries, kept as layers, mounted for containers. Serves the daemon through `imagesvc.service`.

service       what the daemon calls
pull          how an image comes to this node; covering makes the layer that some images need on top
keeper        which layers stay, and how the others go
mounts        layers mounted once, overlays made of them; stack says of which
progress      pulls under way, for whoever watches
reference, digest, document, manifest, platforms, config, image     pure: names and documents
joined, threads     work that several callers share, or that a cancelled one waits for

registry/     pure: credentials, hosts.toml, the distribution protocol; the transport and the client that drive it
layer/        tar streams parsed, written as one EROFS file or as a directory tree
worker/       the processes that fetch and write, and the daemon's end of them
store/        records in SQLite and in memory
"""
