"""A certificate authority for one cluster, and the certificates and keys that it signs: NAME.crt, NAME.key.

Owns one directory of files. The signing is openssl's.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from e2e.kube.namespace import NODE_ADDRESS
from e2e.kube.settings import FRONT_PROXY, NODE, SERVICE_ADDRESS

_CONFIGURATION = "[req]\ndistinguished_name = name\n[name]\n"
_CLIENTS = {
    "admin": "/O=system:masters/CN=admin",
    "kubelet-client": "/O=system:masters/CN=kube-apiserver-kubelet-client",
    "controller-manager": "/CN=system:kube-controller-manager",
    "scheduler": "/CN=system:kube-scheduler",
    "proxy": "/CN=system:kube-proxy",
    # The API server towards those that it forwards requests to.
    "front-proxy": f"/CN={FRONT_PROXY}",
    "kubelet": f"/O=system:nodes/CN=system:node:{NODE}",
}


class Certificates:
    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def certificate(self, name: str) -> Path:
        return self.directory / f"{name}.crt"

    def key(self, name: str) -> Path:
        return self.directory / f"{name}.key"

    def make(self) -> None:
        """All of them; a directory that has them is left as it is."""
        if self.certificate("apiserver").exists():
            return
        self.directory.mkdir(parents=True)
        (self.directory / "openssl.conf").write_text(_CONFIGURATION)
        self._sign(
            "ca", "/CN=cluster-authority", ["basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign"]
        )
        for name, subject in _CLIENTS.items():
            self._sign(name, subject, ["extendedKeyUsage=clientAuth"], authority="ca")
        names = ["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"]
        names.append("kubernetes.default.svc.cluster.local")
        addresses = ["127.0.0.1", NODE_ADDRESS, SERVICE_ADDRESS]
        alternatives = ",".join([*(f"DNS:{name}" for name in names), *(f"IP:{address}" for address in addresses)])
        extensions = ["extendedKeyUsage=serverAuth", f"subjectAltName={alternatives}"]
        self._sign("apiserver", "/CN=kube-apiserver", extensions, authority="ca")
        # Signs the tokens of service accounts: a bare pair of keys.
        self._openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", "accounts.key")
        self._openssl("pkey", "-in", "accounts.key", "-pubout", "-out", "accounts.pub")

    def _sign(self, name: str, subject: str, extensions: Sequence[str], *, authority: str = "") -> None:
        by = ["-CA", f"{authority}.crt", "-CAkey", f"{authority}.key"] if authority else []
        self._openssl(
            *("req", "-x509", "-config", "openssl.conf", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-days", "30", "-subj", subject, "-keyout", f"{name}.key", "-out", f"{name}.crt"),
            *by,
            *(word for extension in extensions for word in ("-addext", extension)),
        )

    def _openssl(self, *words: str) -> None:
        subprocess.run(["openssl", *words], cwd=self.directory, check=True, capture_output=True)
