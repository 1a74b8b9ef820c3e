# make          lists the targets
# make vm CMD='ipvsadm -Ln'

SHELL := /bin/bash
.DEFAULT_GOAL := help

# Binaries and everything downloaded live here; git ignores it.
CACHE := $(CURDIR)/.cache
BIN := $(CACHE)/bin
LAB := $(BIN)/lab

export CGO_ENABLED ?= 0
GOBUILD := go build -trimpath

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "%-14s %s\n", $$1, $$2}'

.PHONY: build
build: ## build every command into .cache/bin
	@mkdir -p $(BIN)
	$(GOBUILD) -o $(BIN)/ ./cmd/...

.PHONY: lab-deps
lab-deps: ## install the packages that the lab needs (Debian, Ubuntu; as root)
	@sh e2e/lab/deps.sh

# Go decides what is out of date.
.PHONY: lab
lab: ## build .cache/bin/lab, which runs a command on a kernel with IPVS
	@mkdir -p $(BIN)
	@$(GOBUILD) -o $(LAB) ./e2e/lab

CMD ?= ipvsadm -Ln

# value keeps make from expanding the $ of the command.
.PHONY: vm
vm: lab lab-deps ## run CMD='...' with a shell on a kernel with IPVS
	@$(LAB) $(LABFLAGS) sh -c '$(subst ','\'',$(value CMD))'

.PHONY: demo
demo: lab lab-deps build ## show the proxy at work, without a cluster: the first thing to run
	@$(GOBUILD) -o $(BIN)/demo ./e2e/demo
	@echo "demo: starting a kernel with IPVS: this host's own, or a virtual machine's"
	@$(LAB) -preload $(BIN)/demo

# The drivers' tests need a kernel with IPVS; everything else runs anywhere.
KERNEL_PACKAGES := $(addprefix ./internal/kernel/,conntrack host ipset ipvs link netfilter nlbatch sysctl)
# The parts of the end-to-end tests. Two run at a time, each with a machine of the lab and a control plane of its own.
E2E_PACKAGES ?= ./e2e/admin ./e2e/backend ./e2e/behaviour ./e2e/deploy ./e2e/differential ./e2e/probe ./e2e/refusal ./e2e/sctp ./e2e/takeover ./e2e/topology
TESTFLAGS ?=
# As go test, and in the end it says how many tests there were, and of each that was skipped, why.
GOTEST := go run gotest.tools/gotestsum@v1.13.0 --format standard-quiet -- $(TESTFLAGS)

.PHONY: test
test: unit browser-test kernel-test e2e ## run every test: the whole of unit, browser-test, kernel-test and e2e

# Unpacked, not installed: the package's own server would start and listen.
$(BIN)/promtool:
	@mkdir -p $(BIN) $(CACHE)/promtool
	@cd $(CACHE)/promtool && { apt-get download -qq prometheus 2>/dev/null || { apt-get update -qq && apt-get download -qq prometheus; }; } \
		&& dpkg -x prometheus_*.deb . && mv usr/bin/promtool $@ && rm -r $(CACHE)/promtool

.PHONY: promtool
promtool: $(BIN)/promtool ## put promtool, which tests the alert rules, into .cache/bin (Debian, Ubuntu)

.PHONY: unit
unit: promtool ## run the tests that need no special kernel
	@$(GOTEST) $$(go list ./cmd/... ./internal/... ./e2e/bench/... ./e2e/demo ./e2e/deploy/monitoring ./e2e/lab ./e2e/standin | grep -vxF "$$(go list $(KERNEL_PACKAGES))")
	@cd e2e/controlplane && $(GOTEST) ./...

.PHONY: browser-test
browser-test: lab-deps ## have a browser show the status page
	@$(GOTEST) -tags browser -run TestBrowser ./internal/admin/page

.PHONY: kernel-test
kernel-test: lab lab-deps ## run the kernel drivers' tests on a kernel with IPVS
	@$(GOTEST) -timeout 20m -exec $(LAB) $(KERNEL_PACKAGES)

.PHONY: controlplane
controlplane: ## build etcd, kube-apiserver, kube-proxy and kubectl for the tests (minutes, the first time)
	@mkdir -p $(BIN)
	@go build -C e2e/controlplane -trimpath -o $(BIN)/controlplane .
	@$(BIN)/controlplane -build

# RUN selects tests by name: make e2e RUN=TestB01
.PHONY: e2e
e2e: lab lab-deps build controlplane ## run the end-to-end tests: real API server, kernel and packets
	@KUBE_IPVS_PROXY_E2E=1 KUBE_IPVS_PROXY_BINARY=$(BIN)/kube-ipvs-proxy \
		LAB_TIMEOUT=$${LAB_TIMEOUT:-60m} $(GOTEST) -p 2 -parallel 4 -timeout 55m -exec '$(BIN)/controlplane $(LAB)' $(if $(RUN),-run '$(RUN)') $(E2E_PACKAGES)

# One random case again: make diff-kube-proxy SEED=17 SEEDS=1. A fresh SEED each time finds more than the same one.
SEED ?= $(shell date +%s)
SEEDS ?= 20
OBJECTS ?= 60
CHANGES ?= 40

.PHONY: diff-kube-proxy
diff-kube-proxy: lab lab-deps build controlplane ## compare with kube-proxy on scenarios and SEEDS=20 random cases (an hour)
	@KUBE_IPVS_PROXY_E2E=1 KUBE_IPVS_PROXY_BINARY=$(BIN)/kube-ipvs-proxy LAB_TIMEOUT=6h \
		SEED=$(SEED) SEEDS=$(SEEDS) OBJECTS=$(OBJECTS) CHANGES=$(CHANGES) $(BIN)/controlplane \
		go test -v -count=1 -timeout 6h -exec $(LAB) $(if $(RUN),-run '$(RUN)') ./e2e/differential

# All of it takes many hours; each piece is kept in .cache/bench as soon as it is measured, and the next run goes on from
# there. BENCHFLAGS chooses pieces (.cache/bin/bench -h lists the flags); -report only writes what there is:
#   make bench BENCHFLAGS='-lab-flags -preload -sizes 1000x10 -paths "" -contestants kube-ipvs-proxy,floor -rounds 1'
#   make bench BENCHFLAGS='-lab-flags -preload -sizes "" -paths 10,1000'
#   make bench BENCHFLAGS=-report
.PHONY: bench
bench: lab lab-deps build controlplane ## measure the daemon beside kube-proxy, in pieces, into e2e/bench/RESULTS.md (hours; BENCHFLAGS)
	@$(GOBUILD) -o $(BIN)/bench ./e2e/bench
	@status=0; $(BIN)/controlplane $(BIN)/bench $(BENCHFLAGS) || status=$$?; $(BIN)/bench $(BENCHFLAGS) -report && exit $$status

# By the same bases (IMAGE@sha256:…) and commit the image is the same again. Without a container engine, as in a sandbox:
#   make image BUILDAH='buildah --storage-driver vfs' IMAGEFLAGS='--isolation chroot' BASE=… GO_IMAGE=…
BUILDAH ?= buildah
IMAGE ?= kube-ipvs-proxy:dev
EPOCH = $(shell git log -1 --format=%ct)

.PHONY: image
image: ## build the container image IMAGE=kube-ipvs-proxy:dev with buildah (BASE, GO_IMAGE: Debian, Go on Debian)
	$(BUILDAH) build $(IMAGEFLAGS) --timestamp $(EPOCH) --build-arg SOURCE_DATE_EPOCH=$(EPOCH) \
		--build-arg REVISION=$$(git rev-parse HEAD) $(if $(BASE),--build-arg BASE=$(BASE)) $(if $(GO_IMAGE),--build-arg GO_IMAGE=$(GO_IMAGE)) \
		-t $(IMAGE) .

.PHONY: docs
docs: ## write the tables of manifests/reference.md from the code (the tests fail when they differ)
	@UPDATE_REFERENCE=1 go test -count=1 -p 1 -run '^TestReference' ./internal/app ./internal/metrics

STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOVULNCHECK := golang.org/x/vuln/cmd/govulncheck@v1.9.0

.PHONY: lint
lint: ## check format, go vet, staticcheck and known vulnerabilities
	@unformatted=$$(gofmt -l cmd internal e2e); test -z "$$unformatted" || { echo "run gofmt -w on:" $$unformatted; exit 1; }
	go vet ./...
	go -C e2e/controlplane vet ./...
	go run $(STATICCHECK) ./...
	@if go run $(GOVULNCHECK) -version >/dev/null 2>&1 && curl -sfo /dev/null --max-time 10 https://vuln.go.dev/index/db.json; then \
		go run $(GOVULNCHECK) ./...; \
	else echo "govulncheck not run: its database at vuln.go.dev cannot be reached from here"; fi

.PHONY: clean
clean: ## remove binaries, logs and downloads
	rm -rf $(CACHE)
