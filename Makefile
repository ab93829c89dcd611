# .venv belongs to the interpreter that made it. `make test PYTHON=python3.12` with another version uses .venv-3.12.
PYTHON ?= python3
VENV := .venv
ifneq ($(origin PYTHON),file)
  VERSION := $(or $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])'),$(error $(PYTHON) cannot be run))
  VENV := $(if $(wildcard .venv/bin/python$(VERSION)),.venv,$(if $(wildcard .venv/bin/python3),.venv-$(VERSION),.venv))
endif
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check --no-deps
TESTS ?= fx_pipeline_tests
VALIDATE := $(BIN)/check-jsonschema --quiet --builtin-schema vendor
CLIENTS := fx_pipeline_tests/api/clients
COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.10 --generate-hashes --no-header --no-annotate
COMPILE_AS_DEV := $(COMPILE) --constraint requirements-dev.lock

.DEFAULT_GOAL := help
.PHONY: help install install-dev up clients test test-all coverage check lint format bench docs screenshots lock

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

install: $(VENV)/installed ## the virtual environment, with what running needs

$(VENV)/installed: requirements.lock requirements-build.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(0 if (3, 10) <= sys.version_info < (3, 15) else "fx-pipeline needs Python 3.10 to 3.14: make PYTHON=python3.12 install")'
	$(PYTHON) -m venv $(VENV)
	$(PIP_INSTALL) --require-hashes --requirement requirements.lock --requirement requirements-build.lock
	$(PIP_INSTALL) --no-build-isolation --editable .
	@touch $@

install-dev: $(VENV)/installed-dev ## the virtual environment, with development tools too

$(VENV)/installed-dev: $(VENV)/installed requirements-dev.lock
	$(PIP_INSTALL) --require-hashes --requirement requirements-dev.lock
	@touch $@

up: install ## run everything: the sandbox (if no key is set), ingestion, Dagster, the API
	$(BIN)/fx-pipeline up

clients: $(CLIENTS)/node_modules ## install the published JavaScript clients for the tests, if npm is available

$(CLIENTS)/node_modules: $(CLIENTS)/package-lock.json
	if command -v npm >/dev/null; then npm ci --silent --prefix $(CLIENTS) && touch $@; fi

test: install-dev clients ## run all tests except the slow ones; TESTS=... selects files
	$(BIN)/pytest $(TESTS)

test-all: install-dev clients ## run all tests
	$(BIN)/pytest --slow $(TESTS)

coverage: install-dev clients ## run all tests except the slow ones, and measure coverage
	$(BIN)/pytest --cov=fx_pipeline $(TESTS)

check: lint test ## run lint and the fast tests

lint: install-dev ## check code, words, shell scripts, the Dockerfile and the workflows of CI
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	git ls-files -z | xargs -0 $(BIN)/codespell
	.ci/words
	git grep -lzE '^#!/(usr/)?bin/(env )?(ba)?sh' -- ':!*.py' ':!*.md' ':!*.y*ml' | xargs -0 $(BIN)/shellcheck
	$(BIN)/hadolint Dockerfile fx_pipeline_tests/deploy/services/Dockerfile
	$(VALIDATE).circle-ci .circleci/config.yml
	$(VALIDATE).compose-spec deploy/compose/compose.yaml
	$(VALIDATE).dependabot .github/dependabot.yml
	$(VALIDATE).github-actions .github/actions/*/action.yml
	$(VALIDATE).github-workflows .github/workflows/*.yml
	$(BIN)/actionlint -shellcheck $(BIN)/shellcheck -pyflakes ''
	$(BIN)/zizmor --quiet --offline --persona pedantic .github

format: install-dev ## fix and format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: install-dev ## measure ingestion, the API, the start and Dagster's history, and write benchmarks/RESULTS.md
	$(BIN)/python -m benchmarks.ingest
	$(BIN)/python -m benchmarks.api
	$(BIN)/python -m benchmarks.lanes
	$(BIN)/python -m benchmarks.sqlite
	$(BIN)/python -m benchmarks.export
	$(BIN)/python -m benchmarks.replication
	$(BIN)/python -m benchmarks.nginx
	$(BIN)/python -m benchmarks.history
	$(BIN)/python -m benchmarks.startup

docs: install-dev ## regenerate the tables in docs/ and .env.example
	$(BIN)/python -m fx_pipeline_tests.documents

screenshots: install-dev ## retake the screenshots from a running instance (needs Chromium)
	$(BIN)/python -m fx_pipeline_tests.pages.screenshots

lock: install-dev ## resolve all lock files again
	$(COMPILE) --all-extras --group dev pyproject.toml --output-file requirements-dev.lock
	$(COMPILE_AS_DEV) pyproject.toml --output-file requirements.lock
	$(COMPILE_AS_DEV) --extra postgres --extra celery --extra replica --extra otel pyproject.toml --output-file requirements-cluster.lock
	$(COMPILE_AS_DEV) --group api --output-file requirements-api.lock
	$(COMPILE_AS_DEV) --group build --output-file requirements-build.lock
