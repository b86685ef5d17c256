# One definition of every check: people, CI and hooks call these targets. `make help` lists them.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := /bin/sh
BIN := .venv/bin
JOBS ?= 2
ARGS ?=
SIZE ?= small
ifeq ($(filter small large,$(SIZE)),)
$(error SIZE: got '$(SIZE)', expected small or large)
endif

# The environment is current when it is newer than what it was made from.
READY := .venv/.complete

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(READY): pyproject.toml requirements/dev.txt scripts/make-venv
	@scripts/make-venv

.PHONY: venv
venv: $(READY) ## make .venv/ with everything pinned; installs uv if it is missing; no root

.PHONY: up
up: $(READY) ## serve the demo shop behind the gate (ARGS="--crowd 200" sends a crowd)
	@$(BIN)/ropeline up $(ARGS)

.PHONY: test
test: check cover ## every check and every test, with the coverage limit

.PHONY: check
check: $(READY) ## format, lint, types, import direction, spelling
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/codespell

.PHONY: cover
cover: $(READY) ## the tests under branch coverage, child processes included; gate, jobs and lua need 95 %
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -n $(JOBS) --dist loadfile $(ARGS)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --include='gate/*,jobs/*,lua/*' --fail-under=95

.PHONY: quick
quick: $(READY) ## the tests without coverage (ARGS="tests/gate -k ticket" chooses)
	$(BIN)/pytest -n $(JOBS) --dist loadfile $(ARGS)

campaign_small := --seeds 1 --steps 300
campaign_large := --seeds 40 --steps 2000
fuzz_small := --requests 5000
fuzz_large := --requests 100000
kills_small := --workers 10 --servers 2 --replies 10
kills_large := --workers 500 --servers 200 --replies 300
depth_small := --pending 20000 --held 5000 --each 2000 --turns 40
depth_large := --pending 1000000 --held 200000 --each 20000 --turns 200
contract_small := --examples 10
contract_large := --examples 900

.PHONY: campaign
campaign: $(READY) ## random visitors, outages and edits, replayed against a model (SIZE=large)
	$(BIN)/python -m loadtests.campaign $(campaign_$(SIZE)) $(ARGS)

.PHONY: machine
machine: $(READY) ## the state machine of a line at its large size
	ROPELINE_LARGE=1 $(BIN)/pytest -o faulthandler_timeout=0 tests/line $(ARGS)

.PHONY: fuzz
fuzz: $(READY) ## hostile requests through both HTTP parsers (SIZE=large)
	$(BIN)/python -m loadtests.fuzz $(fuzz_$(SIZE)) $(ARGS)

.PHONY: kills
kills: $(READY) ## jobs under SIGKILL of workers, server and replies: nothing acknowledged is lost (SIZE=large)
	$(BIN)/python -m loadtests.kills $(kills_$(SIZE)) $(ARGS)

.PHONY: depth
depth: $(READY) ## what each script of the job engine costs in a deep queue, and what jobs leave in memory (SIZE=large)
	$(BIN)/python -m loadtests.depth $(depth_$(SIZE)) $(ARGS)

.PHONY: contract
contract: $(READY) ## random calls of the operators' API against its OpenAPI document (SIZE=large)
	$(BIN)/python -m loadtests.contract $(contract_$(SIZE)) $(ARGS)

.PHONY: loop
loop: $(READY) ## a stampede on a site that slows down, which the closed loop has to keep quick (SIZE=large)
	$(BIN)/python -m loadtests.closed_loop $(SIZE) $(ARGS)

.PHONY: load
load: $(READY) ## a crowd on the demo, its promises checked while it stands in line (SIZE=large)
	$(BIN)/python -m loadtests.run $(SIZE) $(ARGS)

.PHONY: faults
faults: $(READY) ## what the gate answers while its store fails, and how fast
	$(BIN)/ropeline faults gate $(ARGS)

.PHONY: bench
bench: $(READY) ## what the gate adds to a request on this machine
	$(BIN)/ropeline bench gate $(ARGS)

.PHONY: format
format: $(READY) ## rewrite the code in the house format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.PHONY: pins
pins: ## resolve the dependencies anew into requirements/
	scripts/pin

.PHONY: clean
clean: ## remove what builds and test runs left; keeps .venv/ and the demo's data
	rm -rf build dist htmlcov .coverage .coverage.* .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
