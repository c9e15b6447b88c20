# The commands of this project; `make help` lists them.

# Outside the checkout, so that a fresh clone builds warm.
CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/parlance
export CARGO_TARGET_DIR ?= $(CACHE)/target
# Where scripts/setup puts what the machine does not have.
export PATH := $(CACHE)/tools/bin:$(PATH)

SHELL_SCRIPTS := $(wildcard scripts/*) .ci/run

# The targets share one build directory and one processor: side by side they only wait for each other.
.NOTPARALLEL:
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help run cli test test-with-services soak fuzz lint generate check-generated release-builds bench load clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## build and start the server; ARGS="--listen-addr 0.0.0.0:8080" adds flags
	@scripts/setup run
	cargo run --release --locked --bin parlance -- serve $(ARGS)

cli: ## any other command of the same binary, such as make cli ARGS="seed --users 100 --append"
	@scripts/setup run
	cargo run --release --locked --bin parlance -- $(ARGS)

test: lint ## everything a change must pass: format, lints, all tests
	cargo build --workspace --locked
	@scripts/services run $(MAKE) --no-print-directory test-with-services

# The server's binary is built before: the generated files come from it, and the JS tests start it.
test-with-services:
	cargo nextest run --workspace --locked
	scripts/generate --check
	PARLANCE_BIN=$(abspath $(CARGO_TARGET_DIR))/debug/parlance npm test --prefix tests/js
	PARLANCE_BIN=$(abspath $(CARGO_TARGET_DIR))/debug/parlance scripts/fuzz-api

# One at a time, since they are about time. Thousands of sockets have both their ends in one process.
soak: ## the faults and the log's model for longer: half an hour
	@scripts/setup test
	ulimit -n "$$(ulimit -Hn)" 2>/dev/null || true; \
		SOAK=1 scripts/services run cargo nextest run $(FEATURES) --locked --test api --test-threads 1 \
		--no-fail-fast -- faults:: log_model:: $(ARGS)

# What it comes upon stays in the cache; fuzz/corpus has what is worth a test. The first build takes ten minutes.
# Its flags are for nightly compilers, unless told otherwise; the sanitizers look for what safe Rust does not do.
fuzz: export CARGO_TARGET_DIR = $(CACHE)/fuzz/target
fuzz: export RUSTC_BOOTSTRAP = 1
fuzz: ## a minute of new texts for the parser of socket messages; ARGS="-max_total_time=600" is ten
	@command -v cargo-fuzz >/dev/null || { echo "cargo-fuzz is missing: cargo install cargo-fuzz" >&2; exit 1; }
	@scripts/setup run
	@mkdir -p $(CACHE)/fuzz/socket_message
	cargo fuzz build --sanitizer none socket_message
# With the stack that the server's threads have, for the main thread's is four times that.
	ulimit -s 2048 && cargo fuzz run --sanitizer none socket_message $(CACHE)/fuzz/socket_message \
		fuzz/corpus/socket_message -- -max_total_time=60 -max_len=16384 -timeout=5 $(ARGS)

lint: ## format and lints alone
	@scripts/setup test
	cargo fmt --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	shellcheck -x $(SHELL_SCRIPTS)
	hadolint Dockerfile
	dclint --max-warnings 0 docker-compose.yml
	typos
# These two take minutes to build, so they run where the machine has them.
	if command -v cargo-deny >/dev/null; then cargo deny check bans licenses sources; fi
	if command -v cargo-machete >/dev/null; then cargo machete; fi

generate: ## rewrite the files that follow from the code
	@scripts/setup test
	cargo build --workspace --locked
	@scripts/services run scripts/generate

check-generated: ## fail where such a file is out of date
	@scripts/setup test
	cargo build --workspace --locked
	@scripts/services run scripts/generate --check

# Apart, so that the server that is measured is the one that ships.
release-builds:
	@scripts/setup test
	cargo build --release --locked --bin parlance
	cargo build --release --locked --package parlance-load

RELEASE := $(abspath $(CARGO_TARGET_DIR))/release

bench: release-builds ## measure the release build; ARGS go to parlance-bench, such as a part alone: ARGS=fanout
	scripts/services run --durable $(RELEASE)/parlance-bench --json $(RELEASE)/bench.json --svg $(RELEASE)/bench.svg $(ARGS)
	@echo "The same as JSON and drawn: $(RELEASE)/bench.json and bench.svg"

load: release-builds ## put a server of its own under load and check what it promises; ARGS go to parlance-load
	scripts/services run --durable $(RELEASE)/parlance-load --json $(RELEASE)/load.json --svg $(RELEASE)/load.svg --start $(ARGS)
	@echo "The same as JSON and drawn: $(RELEASE)/load.json and load.svg"

clean: ## remove what the build left, here and in the cache; installed tools stay
	cargo clean
	rm -rf $(CACHE)/fuzz fuzz/artifacts
	rm -rf web/explorer/dist web/explorer/node_modules tests/js/node_modules
