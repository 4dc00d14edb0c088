# make run | test | test-all | lint | bench | bench-protocols | bench-xds | fmt
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help run test test-all lint bench bench-protocols bench-xds fmt

CACHE := $(or $(RINGWAY_CACHE),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/ringway)
TARGET := $(or $(CARGO_TARGET_DIR),target)
export PATH := $(CACHE)/bin:$(PATH)
export RINGWAY_CACHE := $(CACHE)

help: ## what there is
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

run: ## build and start the proxy on the demo configuration
	@.ci/tools build
	cargo build --release -p ringway
	@printf '\n%s\n' \
	  'ringway runs deploy/examples/demo.yaml:' \
	  '  http://127.0.0.1:10000/           a page' \
	  '  http://127.0.0.1:10000/api/hello  proxied to the demo upstream' \
	  '  http://127.0.0.1:9901/            admin: statistics, clusters, configuration' \
	  'Ctrl-C stops it.' ''
	@exec $(TARGET)/release/ringway -c deploy/examples/demo.yaml $(ARGS)

test: ## install what the tests need, build, run them
	@.ci/tools test
	cargo build --workspace --bins
	cargo nextest run --workspace

test-all: ## the same, Envoy against itself, mutations for the fuzz targets, documentation examples
	@.ci/tools test
	cargo build --workspace --bins
	cargo test --workspace --doc
	RINGWAY_FUZZ_SECONDS=$${RINGWAY_FUZZ_SECONDS:-20} cargo nextest run --workspace --profile all

lint: ## formatting, clippy, licences and sources of dependencies
	@.ci/tools lint
	rustfmt --check --edition 2024 $$(git ls-files '*.rs')
	cargo clippy --workspace --all-targets -- -D warnings
	cargo deny --offline check licenses bans sources

fmt: ## format every tracked file
	rustfmt --edition 2024 $$(git ls-files '*.rs')

bench: ## compare with Envoy, HAProxy and nginx; the report is perf/report
	@.ci/tools bench
	cargo build --release -p ringway -p ringway-perf
	$(TARGET)/release/ringway-perf compare --ringway $(TARGET)/release/ringway \
	  --out perf/report $(ARGS)

bench-protocols: ## the same for HTTP/2, gRPC, TLS, TCP and WebSocket; the report is perf/report/protocols
	@.ci/tools bench
	cargo build --release -p ringway -p ringway-perf
	$(TARGET)/release/ringway-perf compare --suite protocols --ringway $(TARGET)/release/ringway \
	  $(ARGS)

bench-xds: ## the same for xDS, very large configurations and restarts; the report is perf/report/xds
	@.ci/tools bench
	cargo build --release -p ringway -p ringway-perf
	$(TARGET)/release/ringway-perf compare --suite xds --ringway $(TARGET)/release/ringway \
	  $(ARGS)
