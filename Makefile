# Sidelight. 'make help' lists the targets; each sets up what it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
JOBS ?= 2
export HF_HUB_OFFLINE ?= 1

.PHONY: help setup demo app test lint packages format bench soak clean

help: ## show this list
	@grep -E '^[a-z]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 10

setup: $(VENV)/.installed ## make .venv and install the pinned requirements

$(VENV)/.installed: requirements.txt requirements-connect.txt requirements-mcp.txt requirements-ray.txt requirements-dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Sidelight needs Python 3.11 or newer; found " + sys.version.split()[0] + ". Name one with: make PYTHON=python3.12 ...")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

demo: setup ## generate the marketplace, train, publish, serve the dashboard
	$(BIN)/python -m engine demo

app: setup ## serve the dashboard over what is published
	$(BIN)/python -m app

test: setup lint ## lint, types, and every test (JOBS=2 files at a time)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder

lint: setup ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

packages: setup ## licences of what is installed, and weaknesses known of it
	$(BIN)/python -m tests.packages

format: setup ## let ruff rewrite
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup ## the benchmarks of docs/benchmarks.md
	$(BIN)/python -m tests.bench

soak: setup ## the soaks of docs/benchmarks.md: kills, many colleagues, broken inputs (hours)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.soak

clean: ## remove the environment and caches; data/workspace stays
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
