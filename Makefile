# Every way into this repository, for people and for CI. A target is short; what needs more is
# a Rust program or a test.

TARGET ?= $(shell rustc -vV | sed -n 's/^host: //p')
SECONDS ?= 60
PREFIX ?= /usr/local
RUNC_VERSION ?= v1.5.2
# Runs a command in a throw-away virtual machine that sees this directory: `$(VM) run -- COMMAND`.
VM ?= ../shared/vm/vm
# Containers need root; whoever is not gets asked.
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
BUILD := target/$(TARGET)
ORLOP := $(BUILD)/release/orlop
SECCOMP_TAG := $(shell pkg-config --exists libseccomp 2>/dev/null && echo "-tags seccomp")
CARGO := cargo --quiet
VALIDATION := github.com/opencontainers/runtime-tools
CONTAINERD := github.com/containerd/containerd
CRITOOLS := sigs.k8s.io/cri-tools

# Runs the integration tests there, as root or, with VM_USER=ordinary, as somebody else;
# DRIVER=systemd has systemd make the cgroups of tests that are about them, or with T= of any.
IN_VM = $(CARGO) --config 'target.$(TARGET).runner="sh tests/vm.sh $(abspath $(VM)) $(BUILD)"' \
  test --target $(TARGET) --test integration --

.PHONY: help build run test torture fuzz conformance engines vm-test vm-engines lint bundles bench bench-seccomp reference man install

help: ## Show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

build: ## Build the static executable (TARGET=x86_64-unknown-linux-musl where installed)
	$(CARGO) build --release --target $(TARGET)

bundles: ## Make the root file systems of the ready bundles
	$(CARGO) build --target $(TARGET) --examples
	$(BUILD)/debug/examples/bundles

run: build bundles ## Run a container that says where it is
	$(SUDO) $(ORLOP) run --bundle bundles/hello hello-$$$$

test: build ## Unit, style and integration tests; RUNTIME=runc runs the last ones on runc, T=name one
	$(CARGO) test --target $(TARGET) --lib --example manual --test layers --test requirements --test seccomp $(T)
	$(CARGO) build --target $(TARGET) --examples
	ORLOP=$(CURDIR)/$(ORLOP) $(CARGO) test --target $(TARGET) --test integration -- $(T)

torture: build ## The tests with a seed, and those that sweep or race, many times longer
	TORTURE=1 $(CARGO) test --target $(TARGET) --test seccomp
	$(CARGO) build --target $(TARGET) --examples
	for name in leftovers races shares_its_processes seen_by_the_container; do \
	  TORTURE=1 ORLOP=$(CURDIR)/$(ORLOP) \
	    $(CARGO) test --target $(TARGET) --test integration -- $$name || exit 1; done

fuzz: ## Documents that nobody would write, through checks, compiler and kernel (SECONDS=60)
	FUZZ_SECONDS=$(SECONDS) $(CARGO) test --target $(TARGET) --test seccomp -- --nocapture fuzz::

engines: build ## Docker, containerd, Podman, Buildah with orlop as their runtime, in namespaces of their own; T=name one case
	! command -v go >/dev/null || { cd tests/engines/cri && CGO_ENABLED=0 go test -c \
	  -ldflags '-s -w' -o $(CURDIR)/target/engines/cri-tests $(CONTAINERD)/integration && \
	  cd ../pods && CGO_ENABLED=0 go test -c -ldflags '-s -w' \
	  -o $(CURDIR)/target/engines/pod-tests . && \
	  cd ../containerd2 && CGO_ENABLED=0 go test -c -ldflags '-s -w' \
	  -o $(CURDIR)/target/engines/cri2-tests $(CONTAINERD)/v2/integration && \
	  CGO_ENABLED=0 go build -ldflags '-s -w' -o $(CURDIR)/target/engines/ \
	  $(CONTAINERD)/v2/cmd/containerd $(CONTAINERD)/v2/cmd/containerd-shim-runc-v2 && \
	  cd ../critools && CGO_ENABLED=0 go test -c -ldflags '-s -w' \
	  -o $(CURDIR)/target/engines/critest $(CRITOOLS)/cmd/critest && \
	  CGO_ENABLED=0 go build -ldflags '-s -w' -o $(CURDIR)/target/engines/ $(CRITOOLS)/cmd/crictl; }
	ORLOP=$(CURDIR)/$(ORLOP) $(CARGO) test --target $(TARGET) --test engines -- $(T)

conformance: build ## The validation suite of opencontainers/runtime-tools (needs Go); T=name one test
	mkdir -p target/conformance
	cd tests/conformance && CGO_ENABLED=0 go build -buildvcs=false -ldflags '-s -w' \
	  -o $(CURDIR)/target/conformance/ $(VALIDATION)/validation/... $(VALIDATION)/cmd/runtimetest
	cp -f "$$(cd tests/conformance && go list -m -f '{{.Dir}}' $(VALIDATION))"/rootfs-*.tar.gz \
	  target/conformance/
	ORLOP=$(CURDIR)/$(ORLOP) $(CARGO) test --target $(TARGET) --test conformance -- $(T)

vm-test: build ## The integration tests in a virtual machine: cgroup v2, systemd, root and not
	@test -x "$(VM)" || { echo "there is no virtual machine: $(VM) (VM=PROGRAM)" >&2; exit 1; }
	$(VM) build
	$(CARGO) build --target $(TARGET) --examples
	$(IN_VM) $(T)
	[ -n "$(T)$(DRIVER)" ] || DRIVER=systemd $(IN_VM)
	[ -n "$(T)$(DRIVER)" ] || VM_USER=ordinary $(IN_VM) units::

# Another machine, with engines in it.
vm-engines: export VM_PACKAGES = catatonit containerd containernetworking-plugins docker-cli \
  docker.io netavark nftables podman
vm-engines: build ## Docker and Podman in a virtual machine: cgroup v2, both drivers, root and not
	@test -x "$(VM)" || { echo "there is no virtual machine: $(VM) (VM=PROGRAM)" >&2; exit 1; }
	$(VM) build
	$(CARGO) --config 'target.$(TARGET).runner="sh tests/vm-engines.sh $(abspath $(VM)) $(BUILD)"' \
	  test --target $(TARGET) --test engines -- $(T)

lint: ## Formatting, clippy and the style test, for ARM as well where that target is installed
	cargo fmt --check
	$(CARGO) clippy --target $(TARGET) --all-targets -- -D warnings
	$(CARGO) test --target $(TARGET) --test layers --test requirements
	! rustup target list --installed 2>/dev/null | grep -q aarch64-unknown-linux-gnu \
	  || $(CARGO) clippy --target aarch64-unknown-linux-gnu --all-targets -- -D warnings

bench-seccomp: ## Compile time and instructions of filters, beside libseccomp's
	$(CARGO) test --release --target $(TARGET) --test seccomp -- --include-ignored --nocapture \
	  --test-threads 1 measure::

reference: ## Build runc, to compare with (RUNC_VERSION=)
	GOBIN=$(CURDIR)/target/reference go install $(SECCOMP_TAG) \
	  github.com/opencontainers/runc@$(RUNC_VERSION)
	target/reference/runc --version

man: ## Write man pages and completions for shells to target/man
	$(CARGO) run --target $(TARGET) --example manual -- target/man

install: build man ## Install the executable, man pages and completions (DESTDIR=, PREFIX=)
	install -D -m 755 $(ORLOP) $(DESTDIR)$(PREFIX)/bin/orlop
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/man/man8 target/man/*.8
	install -D -m 644 target/man/orlop.bash $(DESTDIR)$(PREFIX)/share/bash-completion/completions/orlop
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/zsh/site-functions target/man/_orlop
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d target/man/orlop.fish

bench: build ## Time runtimes against each other, warm and cold (ROUNDS= COLD= OPERATION=run)
	$(CARGO) build --target $(TARGET) --examples
	ORLOP=$(CURDIR)/$(ORLOP) $(BUILD)/debug/examples/bench
