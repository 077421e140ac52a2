# Everything here does its own set-up: a virtual environment in .venv with the pinned versions.

VENV ?= .venv
BIN := $(VENV)/bin
PYTHON := $(BIN)/python

.PHONY: help demo test check format bench bench-accel chaos cluster screenshots structures models clean

help: ## List what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/accel ## Run the demonstration benchmark and watch it; HEADLESS=1 prints a table instead
	$(BIN)/mace-workbench demo $(if $(HEADLESS),--headless)

test: $(VENV)/dev ## Run all tests; as root on Debian those against a real Slurm and sshd too
	@if [ "$$(id -u)" = 0 ] && command -v apt-get dpkg-query >/dev/null; then $(PYTHON) -m tests.cluster install; fi
	$(PYTHON) -m pytest $(ARGS)

check: $(VENV)/dev ## Format, lint, types, direction of imports
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	PYTHONPATH=. $(BIN)/lint-imports

format: $(VENV)/dev ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/dev ## Measure the workbench: start, keys, events, jobs, size
	$(PYTHON) -m tests.bench

bench-accel: $(VENV)/dev ## Measure the acceleration against mace-torch
	$(PYTHON) -m tests.bench.bench_accel $(ARGS)

chaos: $(VENV)/dev ## Cut the link to a cluster a thousand times, for HOURS=1 (root); prints figures
	$(PYTHON) -m tests.cluster install
	$(PYTHON) -m tests.chaos --hours $(or $(HOURS),1) $(ARGS)

cluster: $(VENV)/dev ## Leave a real Slurm cluster up on this machine to play with (root)
	$(PYTHON) -m tests.cluster install
	$(PYTHON) -m tests.cluster up

screenshots: $(VENV)/dev ## Make the pictures in docs/ from the real program
	$(PYTHON) docs/screenshots.py

structures: $(VENV)/dev ## Make the shipped structures anew
	$(PYTHON) -m accel.shipped.make_structures

models: $(VENV)/dev ## Train the shipped models anew
	$(PYTHON) -m accel.shipped.make_models

clean: ## Remove the virtual environment and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

# Whatever Python from 3.11 on is found first. Debian keeps `venv` in a package of its own.
$(PYTHON):
	@for python in python3.13 python3.12 python3.11 python3; do \
	  $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && break; python=; \
	done; \
	if [ -z "$$python" ]; then echo "Python 3.11 or newer is needed: apt install python3 python3-venv" >&2; exit 1; fi; \
	if ! $$python -c 'import ensurepip' 2>/dev/null; then \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    apt-get update -q && apt-get install -qy python3-venv; \
	  else echo "$$python has no venv: apt install python3-venv" >&2; exit 1; fi; \
	fi; \
	echo "Making $(VENV) with $$($$python --version)"; \
	$$python -m venv $(VENV)

$(VENV)/accel: $(PYTHON) pyproject.toml constraints.txt
	$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt -e '.[accel]'
	touch $@

$(VENV)/dev: $(VENV)/accel
	$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt -e '.[accel,notebook,dev]'
	touch $@
