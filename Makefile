# Coracle: the development and test entry points.
#
# `sudo make demo` and `sudo make test` do all their own set-up on a fresh Debian 12 or 13: root, make and the package
# registries are enough. Debian packages that would start a service (nginx, docker-registry, containerd) are never
# installed: they are downloaded, unpacked below .cache/ and run from there.
#
#   PYTHON   the interpreter of .venv, at least 3.11                     make test PYTHON=/usr/bin/python3.13
#   ARGS     passed on to pytest, to the demo or to the benchmark        make test ARGS='-k images -x'
#   CRITEST  a critest binary (kubernetes-sigs/cri-tools), `make critest`
#   ENDPOINT a CRI socket for `make cri-suite`; without one it starts Coracle (ARGS=--cri-runtime=containerd: the peer)
#   VM       tests of `make e2e-vm`, all by default; CRUN a checkout of containers/crun, BUNDLE what `make bundle` packed
#   KUBELET  a kubelet binary, `make kubelet`
#   KUBE_BIN a directory with the programs of a Kubernetes node, `make e2e-kube`
#
# Set-up is kept in stamp files below .cache/ and .venv/: the second run starts at once.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

PYTHON ?= /usr/bin/python3
ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
CACHE := .cache
APT_STAMP := $(CACHE)/apt.stamp
VENV_STAMP := $(VENV)/.installed

.PHONY: help
help: ## this list
	@echo "Coracle. Targets:"
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 12 | sed 's/^/  /'
	@echo "Variables: PYTHON=$(PYTHON)  ARGS=$(ARGS)  (the head of Makefile explains them)"

# -- set-up ------------------------------------------------------------------------------------------------------------

$(APT_STAMP): deploy/debian-packages.txt deploy/setup-debian.sh
	@mkdir -p $(CACHE)
	bash deploy/setup-debian.sh deploy/debian-packages.txt
	@touch $@

$(VENV_STAMP): pyproject.toml constraints.txt $(APT_STAMP)
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	    || { echo "$(PYTHON) is older than Python 3.11: set PYTHON=/path/to/python3" >&2; exit 1; }
	@test -x $(BIN)/python || "$(PYTHON)" -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
	    --editable '.[deploy,e2e,dev]'
	@touch $@

.PHONY: setup
setup: $(VENV_STAMP) ## install what the other targets need (they call it themselves)

# -- what people run ---------------------------------------------------------------------------------------------------

.PHONY: demo
demo: setup ## run a pod end to end on this machine, then remove every trace of it (root)
	$(BIN)/python -m e2e.demo $(ARGS)

.PHONY: test
test: setup ## linters, unit, contract and system tests (root; without root the system tests are skipped)
	$(BIN)/python -m pytest $(ARGS)

.PHONY: check
check: setup ## linters, architecture and unit tests (no root, about two minutes)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest tests/architecture tests/unit -m 'not linter' $(ARGS)

.PHONY: bench
bench: setup ## latencies, memory and throughput beside Debian's containerd, as ratios (root)
	$(BIN)/python -m e2e.bench $(ARGS)

.PHONY: scale
scale: setup ## 500 pods, 100 exec probes a second, a terminal: figures beside their goals (root)
	$(BIN)/python -m e2e.scale $(ARGS)

.PHONY: cri-suite
cri-suite: setup ## our CRI conformance suite: on Coracle, or on ENDPOINT=unix:///run/x.sock (root)
	$(BIN)/python -m pytest e2e/cri $(if $(ENDPOINT),--cri-endpoint=$(ENDPOINT)) $(ARGS)

.PHONY: critest
critest: setup ## run the CRI validation suite against the daemon: make critest CRITEST=/path/to/critest (root)
	@test -n "$(CRITEST)" || { echo "set CRITEST to a critest binary; e2e/critest/README.md tells how to build one" >&2; exit 2; }
	bash deploy/setup-debian.sh deploy/debian-packages-critest.txt
	$(BIN)/python -m e2e.critest --critest "$(CRITEST)" $(ARGS)

.PHONY: kubelet
kubelet: setup ## run a standalone kubelet with a static pod on the daemon: make kubelet KUBELET=/path/to/kubelet (root)
	@test -n "$(KUBELET)" || { echo "set KUBELET to a kubelet binary; e2e/kubelet/README.md tells how to build one" >&2; exit 2; }
	$(BIN)/python -m e2e.kubelet --kubelet "$(KUBELET)" $(ARGS)

.PHONY: e2e-kube
e2e-kube: setup ## a Kubernetes node of plain processes and what users do with it: make e2e-kube KUBE_BIN=/path/to/bin (root)
	@test -n "$(KUBE_BIN)" || { echo "set KUBE_BIN to the directory of the programs; e2e/kube/README.md tells how to build them" >&2; exit 2; }
	$(BIN)/python -m e2e.kube --bin "$(KUBE_BIN)" $(ARGS)

.PHONY: e2e-kube-conformance
e2e-kube-conformance: setup ## Kubernetes' own node conformance specs on that node (root)
	@test -n "$(KUBE_BIN)" || { echo "set KUBE_BIN to the directory of the programs; e2e/kube/README.md tells how to build them" >&2; exit 2; }
	$(BIN)/python -m e2e.kube.conformance --bin "$(KUBE_BIN)" $(ARGS)

.PHONY: e2e-kubeadm
e2e-kubeadm: setup ## kubeadm init and reset, its control plane as pods of the runtime (root)
	@test -n "$(KUBE_BIN)" || { echo "set KUBE_BIN to the directory of the programs; e2e/kube/README.md tells how to build them" >&2; exit 2; }
	$(BIN)/python -m e2e.kubeadm --bin "$(KUBE_BIN)" $(ARGS)

.PHONY: crictl-session
crictl-session: setup ## print a session with every command of crictl: make crictl-session CRICTL=/path/to/crictl (root)
	@test -n "$(CRICTL)" || { echo "set CRICTL to a crictl binary (kubernetes-sigs/cri-tools)" >&2; exit 2; }
	@$(BIN)/python -m e2e.crictl --crictl "$(CRICTL)" $(ARGS)

.PHONY: oci-suite
oci-suite: setup ## crun's and runtime-tools' suites on coracle-oci: make oci-suite CRUN=/checkout RUNTIME_TOOLS=/checkout (root)
	@test -n "$(CRUN)$(RUNTIME_TOOLS)" || { echo "set CRUN, RUNTIME_TOOLS or both to checkouts of containers/crun and opencontainers/runtime-tools" >&2; exit 2; }
	$(BIN)/python -m e2e.oci $(if $(CRUN),--crun "$(CRUN)") $(if $(RUNTIME_TOOLS),--runtime-tools "$(RUNTIME_TOOLS)") $(ARGS)

.PHONY: e2e-vm
e2e-vm: setup ## tests in a virtual machine with systemd, cgroup v2 and AppArmor: make e2e-vm VM=e2e/vm/test_service.py (root)
	$(BIN)/python -m pytest $(or $(VM),e2e/vm) --timeout 0 \
	    $(if $(CRITEST),--vm-critest="$(CRITEST)") $(if $(CRUN),--vm-crun="$(CRUN)") \
	    $(if $(BUNDLE),--vm-bundle="$(BUNDLE)") $(ARGS)

.PHONY: bench-oci
bench-oci: setup ## coracle-oci and the executor as a library beside Debian's crun and runc, as ratios (root)
	$(BIN)/python -m e2e.oci.bench $(ARGS)

.PHONY: bundle
bundle: setup ## build the relocatable bundle and its archive below dist/ (ARGS=--help tells more)
	$(BIN)/python -m deploy.bundle $(ARGS)

.PHONY: verify-bundle
verify-bundle: setup ## build the bundle twice, compare, run pods from it under Debian 12, 13 and nothing at all (root)
	$(BIN)/python -m e2e.bundle $(ARGS)

.PHONY: chart
chart: setup ## lint, unit-test and validate helm/coracle: make chart HELM= HELM_UNITTEST= KUBECONFORM= OPENAPI=
	@test -n "$(HELM)" -a -n "$(HELM_UNITTEST)" -a -n "$(KUBECONFORM)" -a -n "$(OPENAPI)" \
	    || { echo "set HELM, HELM_UNITTEST, KUBECONFORM and OPENAPI; helm/coracle/README.md tells how to get them" >&2; exit 2; }
	$(BIN)/python -m e2e.chart --helm "$(HELM)" --unittest "$(HELM_UNITTEST)" --kubeconform "$(KUBECONFORM)" --openapi "$(OPENAPI)"

.PHONY: node-images
node-images: setup ## build the installer's image, and with ARGS='--kind-base kindest-node.tar' kind's node image, below dist/
	$(BIN)/python -m deploy.node_images $(ARGS)

.PHONY: e2e-installer
e2e-installer: setup ## the chart on a node, from install to uninstall: make e2e-installer KUBE_BIN=/dir HELM=/path IMAGE=/tar (root)
	@test -n "$(KUBE_BIN)" -a -n "$(HELM)" -a -n "$(IMAGE)" \
	    || { echo "set KUBE_BIN, HELM, IMAGE; e2e/kube/README.md and helm/coracle/README.md tell how to get them" >&2; exit 2; }
	$(BIN)/python -m e2e.installer --bin "$(KUBE_BIN)" --helm "$(HELM)" --image "$(IMAGE)" $(ARGS)

.PHONY: proto
proto: setup ## regenerate the modules in cri/api from the .proto files
	$(BIN)/python -m cri.api.generate

.PHONY: clean
clean: ## remove .venv, caches and everything built
	rm -rf $(VENV) $(CACHE) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
