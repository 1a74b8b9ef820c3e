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

.PHONY: unit
unit: ## run the tests that need no special kernel
	go test ./cmd/... ./internal/... ./e2e/lab/...

.PHONY: kernel-test
kernel-test: lab lab-deps ## run the kernel drivers' tests on a kernel with IPVS
	go test -exec $(LAB) ./internal/kernel/...

.PHONY: clean
clean: ## remove binaries, logs and downloads
	rm -rf $(CACHE)
