# What has to be there: Python 3.11-3.13 and make. Everything else is put into .venv and .venv-tools; nothing needs root.
# Once installed, no target but `install` uses the network.
.DEFAULT_GOAL := help
BIN := .venv/bin
INSTALLED := .venv/.installed
PYTHON ?= python3

unexport PYTHONDONTWRITEBYTECODE PYTHONPATH PYTHONHOME VIRTUAL_ENV

.PHONY: help install run test check lint types bench docs clean

help:  ## Show the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' Makefile

install: $(INSTALLED)  ## Set up .venv from uv.lock (the others do it when needed)

$(INSTALLED): pyproject.toml uv.lock scripts/install.py
	$(PYTHON) scripts/install.py

run: $(INSTALLED)  ## Build a mind over the library documentation on this machine
	$(BIN)/tori demo

RAY := tests/bad_input/test_running_system.py tests/chaos/test_live.py tests/contract tests/cluster tests/e2e
REST := tests $(addprefix --ignore=,$(RAY))

test: check  ## Everything that must pass: lint, types, layers, dependencies, coverage, and tests on Ray clusters
	$(BIN)/pytest $(RAY)

check: lint types  ## The part of it that starts no cluster: lint, types, coverage, unit tests, simulations, crash states
	$(BIN)/pytest $(REST) -n 3 --dist loadfile --cov=tori --cov-report=term --cov-fail-under=90

lint: $(INSTALLED)  ## ruff, import-linter, deptry
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/deptry .

types: $(INSTALLED)  ## mypy --strict
	$(BIN)/mypy

bench: $(INSTALLED)  ## Measure the bus on this machine
	$(BIN)/python scripts/bench/bus.py --json

docs: $(INSTALLED)  ## Write the generated pages and dashboards again
	$(BIN)/python scripts/generate_docs.py
	$(BIN)/python scripts/generate_settings.py
	$(BIN)/python scripts/generate_dashboards.py
	$(BIN)/python scripts/generate_bad_input.py

clean:  ## Remove what make and the tools made here, the environment included
	rm -rf .venv .venv-tools .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage build dist site
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
