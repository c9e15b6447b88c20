# The commands of this project; `make help` lists them.

# Outside the checkout, so that a fresh clone finds earlier builds.
CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/parlance
export CARGO_TARGET_DIR ?= $(CACHE)/target
# scripts/setup installs tools here that the machine does not have.
export PATH := $(CACHE)/tools/bin:$(PATH)

# Tests of SQL that might depend on the version of Postgres: the log, the store, search and push.
POSTGRES_TESTS := consumers:: log:: log_model:: migrations:: people::users push::calls push::digests \
	push::dismissals push::recipients retention:: search seed:: statements:: texts::

SHELL_SCRIPTS := $(filter-out scripts/hooks,$(wildcard scripts/* scripts/hooks/*)) .ci/run

# All targets share one build directory, whose lock makes parallel builds wait for each other.
.NOTPARALLEL:
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help run dev cli check test test-one test-with-services test-rust test-postgres \
	test-generated test-js test-fuzz soak fuzz lint generate check-generated release release-builds bench load clean

help: ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# The dev profile, so that this build is also that of the tests.
run: ## build and start the server; ARGS adds flags, such as ARGS="--listen-addr 0.0.0.0:8080"
	@scripts/setup run
	cargo run --locked --bin parlance -- serve $(ARGS)

dev: ## like run, and build and restart whenever a source file is saved
	@scripts/dev $(ARGS)

cli: ## run another command of the server's binary, such as make cli ARGS="seed --users 100 --append"
	@scripts/setup run
	cargo run --locked --bin parlance -- $(ARGS)

release: ## build the server with link-time optimisation, as the image does
	@scripts/setup run
	cargo build --release --locked --package parlance
	@echo "The server: $(RELEASE)/parlance"

# Installs nothing and starts nothing. The server's code embeds web/explorer/dist; for lints an empty one is enough.
check: ## check format and lints of the Rust code; needs no services and no root rights
	@mkdir -p web/explorer/dist
	cargo fmt --check
	cargo clippy --workspace --all-targets --locked -- -D warnings

# Without ARGS only the tests of tests/api are built.
test-one: ## run the tests whose names contain T, such as T=unread; ARGS=--lib for those in src/
	@[[ "$(T)" ]] || { echo 'say which test: make test-one T=name' >&2; exit 2; }
	@scripts/setup test
	@scripts/services run cargo nextest run --locked $(or $(ARGS),--test api) -- $(T)

test: lint ## check format and lints, and run all tests; every change must pass this
	cargo build --workspace --locked
	@scripts/services run $(MAKE) --no-print-directory test-with-services

# Many tests wait most of their time, so twice as many tests as processors run at the same time.
export NEXTEST_TEST_THREADS ?= $(shell echo $$(( 2 * $$(getconf _NPROCESSORS_ONLN) )))

# A failure in one of them does not keep the others from running.
test-with-services:
	@$(MAKE) --no-print-directory --keep-going test-rust test-postgres test-generated test-js test-fuzz

# Each of these targets except the first starts the built server.
test-rust:
	cargo nextest run --workspace --locked

# The oldest and the newest version of Postgres that Parlance supports. npm has version 14 only for Linux on x64.
test-postgres:
	for programs in tests/postgres/node_modules/postgres-*; do \
		version=$$(cut -d- -f2 <<<"$$(basename "$$programs")"); \
		scripts/services run --postgres $$version cargo nextest run --locked --test api -- $(POSTGRES_TESTS) || exit 1; \
	done

test-generated:
	scripts/generate --check

test-js:
	PARLANCE_BIN=$(abspath $(CARGO_TARGET_DIR))/debug/parlance npm test --prefix tests/js

test-fuzz:
	PARLANCE_BIN=$(abspath $(CARGO_TARGET_DIR))/debug/parlance scripts/fuzz-api

# One test at a time, because the tests measure time. The limit of open files is raised, because both ends of thousands
# of sockets are in one process.
soak: ## run the fault tests and the model tests of the log for half an hour
	@scripts/setup test
	ulimit -n "$$(ulimit -Hn)" 2>/dev/null || true; \
		SOAK=1 scripts/services run cargo nextest run --profile soak --locked --test api --test-threads 1 \
		-- faults:: log_model:: $(ARGS)

# New inputs stay in the cache; fuzz/corpus has the inputs that are tests. The first build takes ten minutes.
# RUSTC_BOOTSTRAP lets the stable compiler accept cargo-fuzz's flags. The sanitizers are off: they find errors that safe
# Rust does not have.
fuzz: export CARGO_TARGET_DIR = $(CACHE)/fuzz/target
fuzz: export RUSTC_BOOTSTRAP = 1
fuzz: ## fuzz the parser of socket messages for a minute; ARGS="-max_total_time=600" for ten
	@command -v cargo-fuzz >/dev/null || { echo "cargo-fuzz is missing: cargo install cargo-fuzz" >&2; exit 1; }
	@scripts/setup run
	@mkdir -p $(CACHE)/fuzz/socket_message
	cargo fuzz build --sanitizer none socket_message
# The fuzzer runs in the main thread, which gets the stack size of the server's threads: 2 MiB instead of 8.
	ulimit -s 2048 && cargo fuzz run --sanitizer none socket_message $(CACHE)/fuzz/socket_message \
		fuzz/corpus/socket_message -- -max_total_time=60 -max_len=16384 -timeout=5 $(ARGS)

lint: ## check, and the linters of all other files
	@scripts/setup test
	@$(MAKE) --no-print-directory check
	shellcheck -x $(SHELL_SCRIPTS)
	hadolint Dockerfile
	dclint --max-warnings 0 docker-compose.yml
	typos
	tests/js/node_modules/.bin/markdownlint-cli2
# scripts/setup does not install these two, because their builds take minutes. They run if the machine has them.
	if command -v cargo-deny >/dev/null; then cargo deny check bans licenses sources; fi
	if command -v cargo-machete >/dev/null; then cargo machete; fi

generate: ## rewrite the files that are generated from the code
	@scripts/setup test
	cargo build --workspace --locked
	@scripts/services run scripts/generate

check-generated: ## fail if a generated file is out of date
	@scripts/setup test
	cargo build --workspace --locked
	@scripts/services run scripts/generate --check

# Two builds, so that the features of the load programs do not change the server that is measured.
release-builds:
	@scripts/setup test
	cargo build --release --locked --package parlance
	cargo build --release --locked --package parlance-load

RELEASE := $(abspath $(CARGO_TARGET_DIR))/release

bench: release-builds ## measure the release build; ARGS go to parlance-bench, such as a single part: ARGS=fanout
	scripts/services run --durable $(RELEASE)/parlance-bench --json $(RELEASE)/bench.json --svg $(RELEASE)/bench.svg $(ARGS)
	@echo "The results as JSON and SVG: $(RELEASE)/bench.json and bench.svg"

load: release-builds ## start a server, put it under load and check all deliveries; ARGS go to parlance-load
	scripts/services run --durable $(RELEASE)/parlance-load --json $(RELEASE)/load.json --svg $(RELEASE)/load.svg --start $(ARGS)
	@echo "The results as JSON and SVG: $(RELEASE)/load.json and load.svg"

clean: ## remove build results, here and in the cache; installed tools stay
	cargo clean
	rm -rf $(CACHE)/fuzz fuzz/artifacts
	rm -rf web/explorer/dist web/explorer/node_modules tests/js/node_modules tests/postgres/node_modules
