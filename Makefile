# The commands of this project; `make help` lists them.

# Outside the checkout, so that a fresh clone builds warm.
CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/parlance
export CARGO_TARGET_DIR ?= $(CACHE)/target
# Where scripts/setup puts what the machine does not have.
export PATH := $(CACHE)/tools/bin:$(PATH)

# With the bench, so that its code is checked and tested, and nothing is compiled twice.
FEATURES := --features bench

SHELL_SCRIPTS := $(wildcard scripts/*) .ci/run

# The targets share one build directory and one processor: side by side they only wait for each other.
.NOTPARALLEL:
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help run test test-with-services lint generate check-generated bench clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## build and start the server; ARGS="--listen-addr 0.0.0.0:8080" adds flags
	@scripts/setup run
	cargo run --release --locked --bin parlance -- serve $(ARGS)

test: lint ## everything a change must pass: format, lints, all tests
	cargo build $(FEATURES) --locked
	@scripts/services run $(MAKE) --no-print-directory test-with-services

# The server's binary is built before: the generated files come from it, and the JS tests start it.
test-with-services:
	cargo nextest run $(FEATURES) --locked
	scripts/generate --check
	PARLANCE_BIN=$(abspath $(CARGO_TARGET_DIR))/debug/parlance npm test --prefix tests/js

lint: ## format and lints alone
	@scripts/setup test
	cargo fmt --check
	cargo clippy --all-targets $(FEATURES) --locked -- -D warnings
	shellcheck -x $(SHELL_SCRIPTS)
	hadolint Dockerfile
	dclint --max-warnings 0 docker-compose.yml
	typos
# These two take minutes to build, so they run where the machine has them.
	if command -v cargo-deny >/dev/null; then cargo deny check bans licenses sources; fi
	if command -v cargo-machete >/dev/null; then cargo machete; fi

generate: ## rewrite the files that follow from the code
	@scripts/setup test
	cargo build $(FEATURES) --locked
	@scripts/services run scripts/generate

check-generated: ## fail where such a file is out of date
	@scripts/setup test
	cargo build $(FEATURES) --locked
	@scripts/services run scripts/generate --check

bench: ## measure the release build; ARGS go to parlance-bench
	@scripts/setup test
# Apart, so that the server that is measured is the one that ships.
	cargo build --release --locked --bin parlance
	cargo build --release --locked --features bench --bin parlance-bench
	scripts/services run --durable $(abspath $(CARGO_TARGET_DIR))/release/parlance-bench $(ARGS)

clean: ## remove what the build left, here and in the cache; installed tools stay
	cargo clean
	rm -rf web/explorer/dist web/explorer/node_modules tests/js/node_modules
