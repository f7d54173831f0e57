"""The server's certificate, when there is one."""

from __future__ import annotations

import ssl

from cri.config.schema import StreamingSettings
from cri.errors import FailedPrecondition


def tls_context(settings: StreamingSettings) -> ssl.SSLContext | None:
    """None without a certificate. Raises FailedPrecondition when it cannot be used."""
    if not settings.tls_certificate.name:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(settings.tls_certificate, settings.tls_key if settings.tls_key.name else None)
    except OSError as error:  # ssl.SSLError is one
        raise FailedPrecondition(
            f"cannot use the streaming certificate {settings.tls_certificate} with the key {settings.tls_key}: "
            f"{error.strerror or error}"
        ) from error
    return context
