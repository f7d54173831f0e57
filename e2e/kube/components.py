"""The command lines of the components, values in and words out; each says how to ask whether it is ready.

The kubelet's configuration file is `kubelet_settings`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from e2e.kube.certificates import Certificates
from e2e.kube.namespace import NODE_ADDRESS
from e2e.kube.settings import API_PORT, DOMAIN, FRONT_PROXY, METRICS_PORT, NODE, POD_RANGE, SERVICE_RANGE

ETCD: Final = "http://127.0.0.1:2379"


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    name: str
    """Of its program, and of its log."""
    arguments: tuple[str, ...]
    health: str
    """An address that answers 200 when it is ready."""

    def command(self, programs: Path) -> list[str]:
        return [str(programs / self.name), *self.arguments]


def etcd(directory: Path) -> Component:
    return Component(
        name="etcd",
        arguments=(
            "--name=node",
            f"--data-dir={directory}/etcd",
            f"--listen-client-urls={ETCD}",
            f"--advertise-client-urls={ETCD}",
            "--listen-peer-urls=http://127.0.0.1:2380",
            "--initial-advertise-peer-urls=http://127.0.0.1:2380",
            "--initial-cluster=node=http://127.0.0.1:2380",
            # The node that reboots here is imitated: no power is lost.
            "--unsafe-no-fsync",
            "--log-level=warn",
        ),
        health=f"{ETCD}/health",
    )


def api_server(certificates: Certificates) -> Component:
    return Component(
        name="kube-apiserver",
        arguments=(
            f"--etcd-servers={ETCD}",
            f"--secure-port={API_PORT}",
            f"--advertise-address={NODE_ADDRESS}",
            f"--client-ca-file={certificates.certificate('ca')}",
            f"--tls-cert-file={certificates.certificate('apiserver')}",
            f"--tls-private-key-file={certificates.key('apiserver')}",
            f"--kubelet-client-certificate={certificates.certificate('kubelet-client')}",
            f"--kubelet-client-key={certificates.key('kubelet-client')}",
            "--kubelet-preferred-address-types=InternalIP",
            f"--service-account-issuer=https://kubernetes.default.svc.{DOMAIN}",
            f"--service-account-key-file={certificates.directory}/accounts.pub",
            f"--service-account-signing-key-file={certificates.key('accounts')}",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            f"--service-cluster-ip-range={SERVICE_RANGE}",
            "--allow-privileged=true",
            "--profiling=false",
            *_aggregation(certificates),
        ),
        health=f"https://127.0.0.1:{API_PORT}/readyz",
    )


def controller_manager(directory: Path, certificates: Certificates, kubeconfig: Path) -> Component:
    return Component(
        name="kube-controller-manager",
        arguments=(
            *_as(kubeconfig),
            f"--service-account-private-key-file={certificates.key('accounts')}",
            f"--root-ca-file={certificates.certificate('ca')}",
            f"--cluster-signing-cert-file={certificates.certificate('ca')}",
            f"--cluster-signing-key-file={certificates.key('ca')}",
            "--use-service-account-credentials",
            "--leader-elect=false",
            "--bind-address=127.0.0.1",
            f"--cert-dir={directory}/controller-manager-certificates",
            "--allocate-node-cidrs=false",
        ),
        health="https://127.0.0.1:10257/healthz",
    )


def scheduler(directory: Path, kubeconfig: Path) -> Component:
    return Component(
        name="kube-scheduler",
        arguments=(
            *_as(kubeconfig),
            "--leader-elect=false",
            "--bind-address=127.0.0.1",
            f"--cert-dir={directory}/scheduler-certificates",
        ),
        health="https://127.0.0.1:10259/healthz",
    )


def kubelet(directory: Path, configuration: Path, kubeconfig: Path) -> Component:
    return Component(
        name="kubelet",
        arguments=(
            f"--config={configuration}",
            f"--kubeconfig={kubeconfig}",
            f"--root-dir={directory}/node/kubelet",
            f"--cert-dir={directory}/kubelet-certificates",
            f"--hostname-override={NODE}",
            f"--node-ip={NODE_ADDRESS}",
            "--v=2",
        ),
        health="http://127.0.0.1:10248/healthz",
    )


def proxy(kubeconfig: Path, mode: str) -> Component:
    return Component(
        name="kube-proxy",
        arguments=(
            f"--kubeconfig={kubeconfig}",
            f"--hostname-override={NODE}",
            f"--proxy-mode={mode}",
            f"--cluster-cidr={POD_RANGE}",
            # These sysctls belong to the whole machine: they stay as they are.
            "--conntrack-max-per-core=0",
            "--conntrack-tcp-timeout-established=0",
            "--conntrack-tcp-timeout-close-wait=0",
        ),
        health="http://127.0.0.1:10256/livez",
    )


def dns(configuration: Path) -> Component:
    return Component(
        name="coredns",
        arguments=(f"-conf={configuration}",),
        health="http://127.0.0.1:8181/ready",
    )


def metrics_server(directory: Path, kubeconfig: Path) -> Component:
    return Component(
        name="metrics-server",
        arguments=(
            *_as(kubeconfig),
            f"--secure-port={METRICS_PORT}",
            f"--cert-dir={directory}/metrics-certificates",
            "--kubelet-insecure-tls",
            "--kubelet-preferred-address-types=InternalIP",
            "--metric-resolution=10s",
            "--kubelet-request-timeout=5s",
        ),
        health=f"https://127.0.0.1:{METRICS_PORT}/livez",
    )


def dns_configuration(kubeconfig: Path) -> str:
    """A Corefile: the cluster's names, on the node's address."""
    return f"""\
.:53 {{
    bind {NODE_ADDRESS}
    errors
    ready 127.0.0.1:8181
    kubernetes {DOMAIN} in-addr.arpa {{
        kubeconfig {kubeconfig}
        pods insecure
        ttl 0
    }}
}}
"""


def _aggregation(certificates: Certificates) -> tuple[str, ...]:
    """Requests for other APIs are forwarded to who serves them, at the addresses of their Service's endpoints."""
    return (
        f"--requestheader-client-ca-file={certificates.certificate('ca')}",
        f"--requestheader-allowed-names={FRONT_PROXY}",
        "--requestheader-username-headers=X-Remote-User",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        f"--proxy-client-cert-file={certificates.certificate('front-proxy')}",
        f"--proxy-client-key-file={certificates.key('front-proxy')}",
        "--enable-aggregator-routing=true",
    )


def _as(kubeconfig: Path) -> tuple[str, ...]:
    flags = ("kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig")
    return tuple(f"--{flag}={kubeconfig}" for flag in flags)
