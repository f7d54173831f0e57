"""OCI images written from files on this machine: layers, documents, an OCI layout on disk, a push to a registry.

Owns the writing of images for tests, demos and node images. It reads no image (that is `imagesvc`), runs nothing,
and knows nothing of where the files come from.

    layer.py      one layer: a tar stream, compressed and hashed while it is written
    document.py   config, manifest, index: values in, bytes out
    layout.py     an OCI image layout directory
    push.py       the push half of the distribution protocol
"""

from deploy.image.document import Descriptor, Image, ImageConfig, Platform, index_document
from deploy.image.layer import Compression, Layer, LayerBuilder
from deploy.image.layout import write_layout
from deploy.image.push import PushError, Registry

__all__ = [
    "Compression",
    "Descriptor",
    "Image",
    "ImageConfig",
    "Layer",
    "LayerBuilder",
    "Platform",
    "PushError",
    "Registry",
    "index_document",
    "write_layout",
]
