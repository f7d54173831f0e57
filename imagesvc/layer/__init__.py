"""Layers: from the compressed tar stream of a registry to something the kernel can stack.

    inflate     gzip, zstd, plain: compressed chunks in, tar chunks out
    tar         tar chunks in, entries out
    pax         extended headers
    tree        entries in, the tree they describe out: names resolved inside the root, whiteouts, hard links
    erofs       a tree as EROFS metadata behind the tar's own bytes: one file a layer
    directory   the same tree as files in a directory
    pipeline    all of it in one pass, with both digests
    cover       directories whose attributes a layer only implied

Nothing here knows registries or the daemon.
"""
