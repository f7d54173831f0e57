"""Kubeconfig files: one for each certificate that talks to the API server. JSON is YAML."""

from __future__ import annotations

import json
from pathlib import Path

from e2e.kube.certificates import Certificates
from e2e.kube.settings import API


def write(path: Path, certificates: Certificates, user: str) -> Path:
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "cluster",
        "clusters": [
            {
                "name": "cluster",
                "cluster": {"server": API, "certificate-authority": str(certificates.certificate("ca"))},
            }
        ],
        "users": [
            {
                "name": user,
                "user": {
                    "client-certificate": str(certificates.certificate(user)),
                    "client-key": str(certificates.key(user)),
                },
            }
        ],
        "contexts": [{"name": "cluster", "context": {"cluster": "cluster", "user": user}}],
    }
    path.write_text(json.dumps(document, indent=1))
    return path
