"""From a reference to the image's config and layers: index, manifest, config. Sans-IO.

Each document is verified before it is read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from imagesvc import errors
from imagesvc.config import ConfigDocument, parse_config
from imagesvc.digest import Digest, matches, new_hash, parse_digest, sha256_of
from imagesvc.document import MAX_DOCUMENT, DocumentError
from imagesvc.manifest import ACCEPT, CONFIG_TYPES, Descriptor, Index, Manifest, is_layer_type, parse_manifest
from imagesvc.platforms import Platform, select
from imagesvc.registry.exchange import Answer, Resource, Session, obtain
from imagesvc.registry.messages import Conversation

_DEEPEST_INDEX: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """`digest` is of the document that the reference names (an index or the manifest itself)."""

    digest: Digest
    manifest: Manifest
    manifest_digest: Digest
    config: bytes
    config_digest: Digest
    diff_ids: tuple[Digest, ...]


def current_digest(session: Session) -> Conversation[Digest | None]:
    """What the reference means to the registry now, by HEAD, which no registry counts as a pull.

    None where the registry does not say. The credentials are checked as for a pull. Raises PullError.
    """
    resource = Resource(kind="manifests", target=session.reference.target, method="HEAD", accept=ACCEPT)
    try:
        answer = yield from obtain(session, resource)
    except errors.RegistryRefused:
        return None  # 405: it knows no HEAD
    try:
        return parse_digest(answer.response.headers.get("docker-content-digest", ""))
    except ValueError:
        return None


def resolve(session: Session, host: Platform) -> Conversation[Resolved]:
    """Raises PullError."""
    digest: Digest | None = None
    target = session.reference.target
    size: int | None = None
    for _ in range(_DEEPEST_INDEX):
        answer, found = yield from _document(session, "manifests", target, size)
        digest = digest or found
        document = _parsed(session, answer, found)
        if isinstance(document, Manifest):
            return (yield from _image(session, document, digest, found))
        chosen = _choose(session, document, host)
        target, size = chosen.digest, chosen.size
    raise _corrupt(session, answer, f"indexes are nested more than {_DEEPEST_INDEX} deep")


def _image(session: Session, manifest: Manifest, digest: Digest, own: Digest) -> Conversation[Resolved]:
    name = str(session.reference)
    if manifest.config.media_type not in CONFIG_TYPES:
        raise errors.UnsupportedImage(name, "", f"its config is {manifest.config.media_type!r}: not an image to run")
    for layer in manifest.layers:
        if not is_layer_type(layer.media_type):
            raise errors.UnsupportedImage(name, "", f"layer {layer.digest} has unknown type {layer.media_type!r}")
    if manifest.config.size > MAX_DOCUMENT:
        raise errors.UnsupportedImage(name, "", f"its config has {manifest.config.size} bytes")
    answer, _ = yield from _document(session, "blobs", manifest.config.digest, manifest.config.size)
    content = answer.response.body
    config = _config(session, answer, manifest)
    return Resolved(
        digest=digest,
        manifest=manifest,
        manifest_digest=own,
        config=content,
        config_digest=manifest.config.digest,
        diff_ids=config.diff_ids,
    )


def _config(session: Session, answer: Answer, manifest: Manifest) -> ConfigDocument:
    try:
        config = parse_config(answer.response.body)
    except DocumentError as error:
        raise _corrupt(session, answer, f"config {manifest.config.digest}: {error}") from None
    if config.config.os not in ("linux", ""):
        raise errors.UnsupportedImage(str(session.reference), "", f"it is for {config.config.os}, not linux")
    if len(config.diff_ids) != len(manifest.layers):
        counts = f"{len(config.diff_ids)} layers, the manifest {len(manifest.layers)}"
        raise _corrupt(session, answer, f"config {manifest.config.digest} names {counts}")
    return config


def _document(session: Session, kind: str, target: str, size: int | None) -> Conversation[tuple[Answer, Digest]]:
    """The answer and its content's digest, verified against a target that is a digest and against a stated size."""
    accept = ACCEPT if kind == "manifests" else ""
    resource = Resource(kind=kind, target=target, accept=accept, limit=MAX_DOCUMENT)
    answer = yield from obtain(session, resource)
    length = len(answer.response.body)
    if size is not None and length != size:
        raise _corrupt(session, answer, f"{target} has {length} bytes instead of {size}")
    return answer, _verified(session, answer, resource)


def _verified(session: Session, answer: Answer, resource: Resource) -> Digest:
    content = answer.response.body
    stated = answer.response.headers.get("docker-content-digest", "")
    wanted = resource.target if resource.by_digest else stated
    if not wanted:
        return sha256_of(content)
    try:
        digest = parse_digest(wanted)
    except ValueError as error:
        raise _corrupt(session, answer, f"the registry states digest {wanted[:140]!r}: {error}") from None
    computed = new_hash(digest)
    computed.update(content)
    if not matches(digest, computed):
        found = f"{digest.partition(':')[0]}:{computed.hexdigest()}"
        raise _corrupt(session, answer, f"{resource.kind} {resource.target}: content has digest {found}, not {digest}")
    return digest


def _parsed(session: Session, answer: Answer, digest: Digest) -> Index | Manifest:
    try:
        return parse_manifest(answer.response.body, answer.response.headers.get("content-type", ""))
    except DocumentError as error:
        raise _corrupt(session, answer, f"manifest {digest}: {error}") from None


def _choose(session: Session, index: Index, host: Platform) -> Descriptor:
    entries = [entry for entry in index.manifests if not entry.attestation]
    chosen = select([entry.platform for entry in entries], host)
    if chosen is None:
        offered = ", ".join(sorted({str(entry.platform) for entry in entries})) or "nothing"
        raise errors.UnsupportedImage(
            str(session.reference), "", f"it has no image for {host}, it offers {offered[:300]}"
        )
    return entries[chosen]


def _corrupt(session: Session, answer: Answer, cause: str) -> errors.CorruptContent:
    return errors.CorruptContent(str(session.reference), answer.host.name, cause)
