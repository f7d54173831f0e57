"""Whose certificates are trusted: the host's collection, wherever its distribution keeps it.

OpenSSL looks where it was told when it was built, which is right for one distribution. An interpreter that came with
its own OpenSSL (a bundle, a wheel) would trust nobody elsewhere. SSL_CERT_FILE and SSL_CERT_DIR are obeyed first.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Sequence
from typing import Final

FILES: Final = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Ubuntu, Arch, Gentoo, NixOS, Talos
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",  # RHEL, Fedora, Amazon Linux, Bottlerocket
    "/etc/pki/tls/certs/ca-bundle.crt",  # the same, older
    "/etc/ssl/ca-bundle.pem",  # SUSE
    "/etc/ssl/cert.pem",  # Alpine
)


def host_context(files: Sequence[str] = FILES) -> ssl.SSLContext:
    """A client's context that trusts what the host trusts."""
    context = ssl.create_default_context()
    known = ssl.get_default_verify_paths()  # None for what does not exist
    if known.cafile is None and not _holds_something(known.capath):
        for path in files:
            if os.path.exists(path):
                context.load_verify_locations(path)
                break
    return context


def _holds_something(directory: str | None) -> bool:
    return directory is not None and bool(os.listdir(directory))
