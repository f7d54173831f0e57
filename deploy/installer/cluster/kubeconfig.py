"""A node read with the kubelet's own credentials: on the host, where there is no pod and no kubernetes client.

The Node authorizer lets a kubelet read its own node, so a switch can be verified without any further rights.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import posixpath
import ssl
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import yaml

from deploy.installer.host import Host

_TIMEOUT_S: Final = 10.0
_SERVICE_ACCOUNT: Final = "/var/run/secrets/kubernetes.io/serviceaccount"


class Unreadable(Exception):
    """These credentials are of a kind that is not understood here (an exec plugin), or the server does not answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeReport:
    ready: bool
    runtime: str
    heartbeat: str
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    server: str
    authority: bytes
    certificate: bytes
    key: bytes
    token: str


def read_credentials(host: Host, path: str) -> Credentials:
    """From the kubelet's kubeconfig. Raises Unreadable."""
    try:
        document = yaml.safe_load(host.text(path))
        context = _named(document, "contexts", document["current-context"])["context"]
        cluster = _named(document, "clusters", context["cluster"])["cluster"]
        user = _named(document, "users", context["user"])["user"]
        server = str(cluster["server"])
    except (yaml.YAMLError, KeyError, TypeError, StopIteration) as error:
        raise Unreadable(f"{path} is no kubeconfig that can be used here: {error!r}")
    if "exec" in user:
        raise Unreadable(f"{path} names a credential plugin")
    base = posixpath.dirname(path)
    return Credentials(
        server=server,
        authority=_bytes(host, cluster, "certificate-authority", base),
        certificate=_bytes(host, user, "client-certificate", base),
        key=_bytes(host, user, "client-key", base),
        token=str(user.get("token") or "") or _bytes(host, {"t": user.get("tokenFile")}, "t", base).decode().strip(),
    )


def in_pod() -> Credentials:
    """Those of the service account of the pod that this process runs in. Raises Unreadable outside of one."""
    server = os.environ.get("KUBERNETES_SERVICE_HOST", "")
    port = os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    host = Host()
    token = host.text(f"{_SERVICE_ACCOUNT}/token").strip()
    if not server or not token:
        raise Unreadable("this is no pod with a service account")
    return Credentials(
        server=f"https://{f'[{server}]' if ':' in server else server}:{port}",
        authority=host.read(f"{_SERVICE_ACCOUNT}/ca.crt") or b"",
        certificate=b"",
        key=b"",
        token=token,
    )


def read_node(credentials: Credentials, name: str) -> NodeReport:
    """Raises Unreadable when the server does not answer with the node."""
    target = urlsplit(credentials.server)
    headers = {"Accept": "application/json"}
    if credentials.token:
        headers["Authorization"] = f"Bearer {credentials.token}"
    connection: http.client.HTTPConnection
    if target.scheme == "https":
        connection = http.client.HTTPSConnection(target.netloc, timeout=_TIMEOUT_S, context=_tls(credentials))
    else:
        connection = http.client.HTTPConnection(target.netloc, timeout=_TIMEOUT_S)
    try:
        connection.request("GET", f"{target.path.rstrip('/')}/api/v1/nodes/{name}", headers=headers)
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != http.client.OK:
            raise Unreadable(f"{credentials.server} answers {answer.status}: {body[:200].decode(errors='replace')}")
        return report_of(json.loads(body))
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise Unreadable(f"{credentials.server} does not answer: {error}")
    finally:
        connection.close()


def report_of(node: dict[str, Any]) -> NodeReport:
    status = node.get("status", {})
    ready: dict[str, Any] = next((one for one in status.get("conditions", []) if one.get("type") == "Ready"), {})
    return NodeReport(
        ready=ready.get("status") == "True",
        runtime=str(status.get("nodeInfo", {}).get("containerRuntimeVersion", "")),
        heartbeat=str(ready.get("lastHeartbeatTime", "")),
        labels={str(key): str(value) for key, value in (node.get("metadata", {}).get("labels") or {}).items()},
    )


def _named(document: dict[str, Any], section: str, name: str) -> dict[str, Any]:
    return next(entry for entry in document[section] if entry["name"] == name)


def _bytes(host: Host, section: dict[str, Any], key: str, base: str) -> bytes:
    data = section.get(f"{key}-data")
    if data:
        return base64.b64decode(data)
    path = section.get(key)
    return (host.read(posixpath.join(base, path)) or b"") if path else b""


def _tls(credentials: Credentials) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=credentials.authority.decode() or None)
    if credentials.certificate:
        # The library reads certificates from files only.
        with tempfile.TemporaryDirectory() as directory:
            pair = Path(directory, "pair.pem")
            pair.touch(0o600)
            pair.write_bytes(credentials.certificate + b"\n" + credentials.key)
            context.load_cert_chain(pair)
    return context
