"""Tables of the image service in the daemon's database. Scripts are only ever appended to."""

from __future__ import annotations

from typing import Final

AREA: Final = "images"

MIGRATIONS: Final[tuple[str, ...]] = (
    """
    CREATE TABLE images (
        id TEXT PRIMARY KEY,             -- digest of the config
        config BLOB NOT NULL,            -- the document, byte for byte
        root_mode INTEGER NOT NULL,      -- attributes of the root directory, for upper layers
        root_uid INTEGER NOT NULL,
        root_gid INTEGER NOT NULL,
        pulled_at INTEGER NOT NULL       -- ns
    ) STRICT;
    CREATE TABLE image_names (
        name TEXT PRIMARY KEY,           -- docker.io/library/busybox:1 or docker.io/library/busybox@sha256:...
        image_id TEXT NOT NULL REFERENCES images (id) ON DELETE CASCADE,
        digest TEXT NOT NULL             -- of the manifest or index that the name stood for
    ) STRICT;
    CREATE TABLE layers (
        id TEXT PRIMARY KEY,             -- diffID, or cover:HEX
        form TEXT NOT NULL,
        size INTEGER NOT NULL,           -- on disk
        inodes INTEGER NOT NULL,         -- on disk
        implied BLOB NOT NULL,           -- paths, each ended by a NUL
        opaque_root INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE image_layers (
        image_id TEXT NOT NULL REFERENCES images (id) ON DELETE CASCADE,
        position INTEGER NOT NULL,       -- 0 is the lowest
        layer_id TEXT NOT NULL REFERENCES layers (id),
        PRIMARY KEY (image_id, position)
    ) STRICT;
    CREATE TABLE layer_uses (
        owner TEXT NOT NULL,             -- a directory that exists as long as the layer is needed
        layer_id TEXT NOT NULL REFERENCES layers (id),
        PRIMARY KEY (owner, layer_id)
    ) STRICT;
    """,
    """
    ALTER TABLE layers ADD COLUMN content_end INTEGER;  -- of the tar in an EROFS file; NULL: nothing was sealed
    ALTER TABLE layers ADD COLUMN seal TEXT;            -- see imagesvc.layer.seal
    """,
)
