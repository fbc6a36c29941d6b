# Two commands: `make run` and `make test`. They need Python 3.11 or newer and nothing else; the rest is for those who change the code.
# Written for make 3.81 and a POSIX shell.

VENV ?= .venv
BIN = $(VENV)/bin
export VENV

.DEFAULT_GOAL := help
.PHONY: help run test check bench bench-peers demo lock clean ready-run ready-dev

help: ## show this list
	@awk 'BEGIN { FS = ":.*## " } /^[a-z]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' Makefile

run: ready-run ## install into .venv, then serve this repository's own files on 127.0.0.1:8080 (admin: 9090)
	@exec $(BIN)/fleetgate serve --quickstart

demo: ready-run ## watch a small scripted fleet go through a real proxy
	@exec $(BIN)/fleetgate demo

test: ready-dev ## install what tests need (it says so), then run the whole suite; CI=true turns a skip into a failure
	@scripts/test.sh $(ARGS)

check: ready-dev ## lint, format, types, imports
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

bench: ready-dev ## measure the cost on this machine beside a bare proxy (ARGS="--quick"; "--write" for docs/benchmarks.md)
	@$(BIN)/python -m benchmarks $(ARGS)

bench-peers: ready-dev ## the same beside gateways of others that are installed (docs/benchmarks.md says how)
	@$(BIN)/python -m benchmarks --sections peers $(ARGS)

lock: ## write the lock files anew from pyproject.toml (needs the network)
	@scripts/lock.sh

clean: ## remove .venv, caches and build results; data stays
	rm -rf $(VENV) dist htmlcov .coverage .coverage.* .hypothesis .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

ready-run:
	@scripts/venv.sh run

ready-dev:
	@scripts/venv.sh dev
