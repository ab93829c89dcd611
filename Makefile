# Every target stands on .venv, which is made from requirements.lock and remade when that changes.
PYTHON ?= python3
BIN := .venv/bin
CLIENTS := fx_pipeline_tests/api/clients

.DEFAULT_GOAL := help
.PHONY: help install up clients test test-all check lint format bench docs screenshots lock

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

install: .venv/installed ## .venv, with everything from the lock

.venv/installed: requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(0 if (3, 10) <= sys.version_info < (3, 15) else "fx-pipeline needs Python 3.10 to 3.14: make PYTHON=python3.12 install")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --require-hashes --requirement requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

up: install ## everything: sandbox (when no key is set), ingestion, Dagster, the API
	$(BIN)/fx-pipeline up

clients: $(CLIENTS)/node_modules ## the published JavaScript clients that the tests run, where npm is

$(CLIENTS)/node_modules: $(CLIENTS)/package-lock.json
	if command -v npm >/dev/null; then npm ci --silent --prefix $(CLIENTS) && touch $@; fi

test: install clients ## all tests but the slow ones
	$(BIN)/pytest

test-all: install clients ## all tests, the slow ones too
	$(BIN)/pytest --slow

check: lint test ## lint and the tests that are not slow

lint: install ## ruff, ruff format, mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: install ## rewrite the code as lint wants it
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: install ## measure ingestion and the API; writes benchmarks/RESULTS.md
	$(BIN)/python -m benchmarks.ingest
	$(BIN)/python -m benchmarks.api
	$(BIN)/python -m benchmarks.lanes

docs: install ## write what README and .env.example say of settings and commands anew
	$(BIN)/python -m fx_pipeline_tests.documents

screenshots: install ## take the pictures in README anew, of the running product; needs Chromium
	$(BIN)/python -m fx_pipeline_tests.pages.screenshots

lock: install ## resolve requirements.lock anew
	$(BIN)/uv pip compile --quiet --universal --python-version 3.10 --generate-hashes --no-header --no-annotate --extra dev pyproject.toml --output-file requirements.lock
