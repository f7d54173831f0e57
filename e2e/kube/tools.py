"""The programs of the cluster, and how they are built: static Go programs from published modules, at fixed versions.

    python -m e2e.kube.tools DIRECTORY [NAME...]      what is there already is left alone

Needs Go and a module proxy. The control plane takes 25 minutes of processor time, e2e.test and agnhost another 10.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

KUBERNETES: Final = "v1.37.2"
CLUSTER: Final = (
    *("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"),
    *("kubelet", "kubectl", "kube-proxy", "coredns"),
)
CONFORMANCE: Final = ("e2e.test", "ginkgo", "agnhost")
METRICS: Final = "metrics-server"
KUBEADM: Final = "kubeadm"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    module: str
    version: str
    package: str


_SOURCES: Final = {
    **{
        name: Source(module="k8s.io/kubernetes", version=KUBERNETES, package=f"k8s.io/kubernetes/cmd/{name}")
        for name in (*CLUSTER, KUBEADM)
        if name.startswith("kube")
    },
    "e2e.test": Source(module="k8s.io/kubernetes", version=KUBERNETES, package="k8s.io/kubernetes/test/e2e"),
    "agnhost": Source(module="k8s.io/kubernetes", version=KUBERNETES, package="k8s.io/kubernetes/test/images/agnhost"),
    "ginkgo": Source(module="k8s.io/kubernetes", version=KUBERNETES, package="github.com/onsi/ginkgo/v2/ginkgo"),
    "etcd": Source(module="go.etcd.io/etcd/server/v3", version="v3.7.3", package="go.etcd.io/etcd/server/v3"),
    METRICS: Source(
        module="sigs.k8s.io/metrics-server",
        version="v0.9.0",
        package="sigs.k8s.io/metrics-server/cmd/metrics-server",
    ),
    "coredns": Source(module="github.com/coredns/coredns", version="v1.15.0", package="github.com/coredns/coredns"),
}


def missing(directory: Path, names: Iterable[str]) -> list[str]:
    return [name for name in names if not (directory / name).exists()]


def how_to_build(directory: Path, absent: Sequence[str]) -> str:
    return (
        f"{directory} has no {', '.join(absent)}.\n"
        f"With Go installed, `python -m e2e.kube.tools {directory}` builds what is missing (e2e/kube/README.md)."
    )


def kubernetes_source() -> Path:
    """The unpacked module, for the few files that images need."""
    with tempfile.TemporaryDirectory(prefix="coracle-go-") as scratch:
        module: dict[str, Any] = json.loads(
            _go(["mod", "download", "-json", f"k8s.io/kubernetes@{KUBERNETES}"], scratch)
        )
    return Path(module["Dir"])


def build(name: str, directory: Path) -> None:
    source = _SOURCES[name]
    with tempfile.TemporaryDirectory(prefix="coracle-go-") as scratch:
        _go(["mod", "init", "programs"], scratch)
        if source.module == "k8s.io/kubernetes":
            _stand_in_for_staging(scratch)
        _go(["get", f"{source.module}@{source.version}"], scratch)
        verb = ["test", "-c"] if name.endswith(".test") else ["build"]
        flags = f"-s -w {_version_stamps()}" if source.module == "k8s.io/kubernetes" else "-s -w"
        target = str(directory.resolve() / name)
        _go([*verb, "-trimpath", "-gcflags=all=-dwarf=false", "-ldflags", flags, "-o", target, source.package], scratch)


def _stand_in_for_staging(scratch: str) -> None:
    """Kubernetes' own go.mod finds its libraries in a directory beside it; they are published under 0.N.P."""
    found = _go(["mod", "download", "-json", f"k8s.io/kubernetes@{KUBERNETES}"], scratch)
    module: dict[str, Any] = json.loads(found)
    wanted = json.loads(_go(["mod", "edit", "-json", module["GoMod"]], scratch))
    published = "v0" + KUBERNETES.removeprefix("v1")
    for replaced in wanted.get("Replace") or ():
        path = replaced["Old"]["Path"]
        if replaced["New"]["Path"].startswith("./staging"):
            _go(["mod", "edit", f"-replace={path}={path}@{published}"], scratch)


def _version_stamps() -> str:
    """Without them every program says that it is v0.0.0."""
    major, minor, _ = KUBERNETES.removeprefix("v").split(".")
    values = {"gitVersion": KUBERNETES, "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
    packages = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
    return " ".join(f"-X {package}.{key}={value}" for package in packages for key, value in values.items())


def _go(words: Sequence[str], scratch: str) -> str:
    environment = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=mod -buildvcs=false"}
    return subprocess.run(
        ["go", *words], cwd=scratch, env=environment, check=True, stdout=subprocess.PIPE, text=True
    ).stdout


def main() -> None:
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    directory = Path(sys.argv[1])
    directory.mkdir(parents=True, exist_ok=True)
    for name in missing(directory, sys.argv[2:] or (*CLUSTER, METRICS)):
        print(f"building {name}", flush=True)
        build(name, directory)


if __name__ == "__main__":
    main()
