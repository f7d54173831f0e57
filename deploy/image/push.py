"""The push half of the distribution protocol (distribution-spec 1.1), over plain HTTP to a registry of our own.

Blobs that are there already are not sent again. No authentication: the registries it talks to are on loopback.
"""

from __future__ import annotations

import http.client
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from deploy.image.document import CONFIG_TYPE, INDEX_TYPE, MANIFEST_TYPE, Descriptor, Image, index_document


class PushError(Exception):
    """The registry answered with a status that the protocol does not have at this point."""

    def __init__(self, address: str, method: str, path: str, status: int, body: bytes) -> None:
        super().__init__(f"registry {address}: {method} {path}: status {status}: {body[:300].decode(errors='replace')}")
        self.address = address
        self.status = status


class Registry:
    """`address` is HOST:PORT."""

    def __init__(self, address: str, timeout: float = 300) -> None:
        self.address = address
        self._timeout = timeout

    def push(self, repository: str, tags: Sequence[str], image: Image) -> Descriptor:
        """Uploads what is missing of `image` and names it by each of `tags`; answers the manifest's descriptor."""
        self._push_blobs(repository, image)
        for reference in tags or [image.manifest.digest]:
            self._put_manifest(repository, reference, MANIFEST_TYPE, image.manifest_document)
        return image.manifest

    def push_index(self, repository: str, tags: Sequence[str], images: Sequence[Image]) -> Descriptor:
        """The same for several platforms' images under one index."""
        for image in images:
            self.push(repository, (), image)
        document = index_document(images)
        for tag in tags:
            self._put_manifest(repository, tag, INDEX_TYPE, document)
        return Descriptor.of(INDEX_TYPE, document)

    def put_blob(self, repository: str, digest: str, content: bytes | Path) -> None:
        path = f"/v2/{repository}/blobs"
        if self._call("HEAD", f"{path}/{digest}", expected=(200, 404))[0] == 200:
            return
        location = self._call("POST", f"{path}/uploads/", expected=(202,))[1]
        upload = urlsplit(location)
        query = f"{upload.query}&digest={digest}" if upload.query else f"digest={digest}"
        body: IO[bytes] = content.open("rb") if isinstance(content, Path) else io.BytesIO(content)
        size = content.stat().st_size if isinstance(content, Path) else len(content)
        with body:
            headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
            self._call("PUT", f"{upload.path}?{query}", body=body, headers=headers, expected=(201,))

    def put_manifest(self, repository: str, reference: str, media_type: str, document: bytes) -> None:
        """A document as it is: for tests that need one no honest tool would write."""
        self._put_manifest(repository, reference, media_type, document)

    def _push_blobs(self, repository: str, image: Image) -> None:
        for layer in image.layers:
            self.put_blob(repository, layer.digest, layer.path)
        config = Descriptor.of(CONFIG_TYPE, image.config_document)
        self.put_blob(repository, config.digest, image.config_document)

    def _put_manifest(self, repository: str, reference: str, media_type: str, document: bytes) -> None:
        self._call(
            "PUT",
            f"/v2/{repository}/manifests/{reference}",
            body=io.BytesIO(document),
            headers={"Content-Type": media_type, "Content-Length": str(len(document))},
            expected=(201,),
        )

    def _call(
        self,
        method: str,
        path: str,
        *,
        body: IO[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
        expected: Sequence[int],
    ) -> tuple[int, str]:
        """Status and Location of one exchange on a connection of its own."""
        connection = http.client.HTTPConnection(self.address, timeout=self._timeout)
        try:
            connection.request(method, path, body=body, headers=dict(headers or {}))
            answer = connection.getresponse()
            content = answer.read()
            if answer.status not in expected:
                raise PushError(self.address, method, path, answer.status, content)
            return answer.status, answer.getheader("Location", "")
        finally:
            connection.close()
