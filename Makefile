# The front door for people and for CI. Targets set up what they need themselves (tools/setup).
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON := .venv/bin/python
PROGRAMS := flame-object-cache flame-session-manager flame-uv flmping-service flmexec-service
JOBS ?= $(shell nproc)
TSAN := suppressions=$(CURDIR)/tools/tsan.supp detect_deadlocks=0
CTEST := ctest --output-on-failure --timeout 900 -j $(JOBS)

##@ Use
.PHONY: run
run: program ## Start the cache on port 9090 and the session manager on 8080, show both, serve until Ctrl-C
	@$(PYTHON) tools/showcase.py --serve

.PHONY: demo
demo: program ## The same with a temporary storage, then stop: quick start and a Runner job; exit code 0 if all went well
	@$(PYTHON) tools/showcase.py

##@ Build
.PHONY: setup
setup: ## Install what is missing: Debian packages, .venv (tools/setup)
	@tools/setup

.PHONY: build
build: setup ## Build the programs and the unit tests into build/bin
	@tools/build release

.PHONY: program
program: setup
	@tools/build release $(PROGRAMS)

# What tests of whole programs need.
.PHONY: program-all
program-all: setup
	@tools/build release $(PROGRAMS) bare_flight_server eviction_bench metrics_benchmark

.PHONY: debug
debug: setup ## Unoptimised build in build-debug
	@tools/build debug

.PHONY: clean
clean: ## Remove what was built; data and .venv stay
	rm -rf build build-*

##@ Test
.PHONY: test
test: memory-cost asan-unit ## Everything that CI runs: unit tests, SDK, end to end, conformance, faults; sanitizers where they can
	@# At the same time: they wait more than they work.
	@$(MAKE) --no-print-directory -j4 --output-sync=target asan-e2e sdk-test rest-test

.PHONY: fast
fast: unit ## Unit tests and the SDK's own, in about a minute
	$(PYTHON) -m pytest -q python/tests -m "not slow"

.PHONY: unit
unit: build
	$(CTEST) --test-dir build

# The one unit test that means nothing under a sanitizer; all others run in asan-unit.
.PHONY: memory-cost
memory-cost: program
	@tools/build release memory_cost_test
	$(CTEST) --test-dir build -R '^memory_cost$$'

.PHONY: sdk-test
sdk-test: program-all
	$(PYTHON) -m pytest -q python/tests

.PHONY: e2e-test
e2e-test: program-all ## All but unit tests and the SDK's own, without sanitizers
	$(PYTHON) -m pytest -q tests

# What is slow, measures memory, or is about more than one program of ours.
.PHONY: rest-test
rest-test: program-all
	$(PYTHON) -m pytest -q tests --but-sanitized

.PHONY: asan
asan: asan-unit asan-e2e ## Unit and end-to-end tests under AddressSanitizer and UBSan

.PHONY: asan-build
asan-build: setup
	@tools/build asan

.PHONY: asan-unit
asan-unit: asan-build
	$(CTEST) --test-dir build-asan

.PHONY: asan-e2e
asan-e2e: asan-build
	FLAME_SERVER=build-asan/bin/flame-object-cache FLAME_SESSION_MANAGER=build-asan/bin/flame-session-manager \
	  $(PYTHON) -m pytest -q tests/e2e tests/e2e_sessions -m "not slow"

.PHONY: tsan
tsan: setup ## Unit and concurrency tests under ThreadSanitizer (nightly)
	@tools/build tsan
	TSAN_OPTIONS="$(TSAN)" $(CTEST) --test-dir build-tsan
	TSAN_OPTIONS="$(TSAN)" FLAME_SERVER=build-tsan/bin/flame-object-cache $(PYTHON) -m pytest -q tests/e2e/test_many_clients.py \
	  tests/e2e/test_feed.py tests/e2e/test_op_ids.py tests/e2e/test_interrupted_uploads.py -m "not slow"
	TSAN_OPTIONS="$(TSAN)" FLAME_SESSION_MANAGER=build-tsan/bin/flame-session-manager \
	  $(PYTHON) -m pytest -q tests/e2e_sessions -m "not slow"

.PHONY: tsa
tsa: setup ## Check the lock annotations with clang (nightly; needs tools/setup --nightly)
	@tools/setup --nightly
	@tools/build tsa

.PHONY: fuzz
fuzz: setup ## Run every libFuzzer target for FUZZ_SECONDS (nightly; an hour each)
	@tools/setup --nightly
	@tools/fuzz

.PHONY: planted
planted: build ## Plant defects, one by one, that the tests must find: prints a table (nightly)
	$(PYTHON) tests/planted/run.py

.PHONY: nightly
nightly: setup ## CI's tests and the long ones; the result is in build/nightly.txt (the list is in tests/NIGHTLY.md)
	@tools/nightly

.PHONY: bench
bench: build ## Compare with a bare Flight server, Redis, Ray and memcpy (10 minutes; ARGS="--quick" for a look)
	$(PYTHON) bench/run.py --json build/bench.json $(or $(ARGS),--docs docs)

##@ Source
.PHONY: verify
verify: setup ## Check formatting, lint, include direction and links in the docs; changes nothing
	@tools/verify

.PHONY: fix
fix: setup ## Format everything in place
	@git ls-files '*.cc' '*.h' | xargs -r clang-format -i
	@.venv/bin/ruff check -q --fix . && .venv/bin/ruff format -q .

.PHONY: help
help: ## This page
	@awk 'BEGIN {FS = ":.*## "; print "\nflame-object-cache: make targets\n"} \
	  /^##@ / {printf "\n\033[1m%s\033[0m\n", substr($$0, 5)} \
	  /^[a-z0-9-]+:.*## / {printf "  \033[36m%-10s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
