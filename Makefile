# All commands of a checkout. Each target prepares its requirements and changes nothing outside of this folder.
# The MALLOC_ settings of demo-model nearly double the speed of training with glibc.
PYTHON := .venv/bin/python
STAMP := .venv/.installed
PYTEST := $(PYTHON) -m pytest

.DEFAULT_GOAL := help
.PHONY: help install demo up test test-slow check settings-table dashboards demo-model bench

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(STAMP) ## create .venv with all dependencies; runs again only if pyproject.toml or constraints.txt changes

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -m pip --version >/dev/null 2>&1 || { \
	  for python in python3.12 python3.11 python3; do \
	    $$python --version >/dev/null 2>&1 || continue; \
	    $$python -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue; \
	    echo "making .venv with $$($$python --version)"; \
	    exec $$python -m venv --clear .venv; \
	  done; \
	  echo "errata needs Python 3.11 or 3.12 with its venv module, and found none on PATH." >&2; \
	  echo "On Debian or Ubuntu: apt-get install python3 python3-venv" >&2; \
	  exit 1; }
	$(PYTHON) -m pip install --quiet -c constraints.txt -e '.[dev]'
	@touch $@

demo: install ## correct facts of a small model, ask again, and roll back; at most three minutes
	$(PYTHON) -m service.cli.demo

up: install ## start Redis, service and worker on 127.0.0.1:8000; Ctrl-C stops all
	$(PYTHON) -m service.cli.main up

test: install ## run the tests, with real Redis and small models
	$(PYTEST) -m "not slow"

test-slow: install ## run the long tests
	$(PYTEST) -m slow

check: install ## check format, lint, types and imports, and run all tests; must pass before a merge
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m ruff check .
	$(PYTHON) -m mypy
	.venv/bin/lint-imports
	$(PYTEST) -m "not slow"
	$(PYTEST) -m slow

settings-table: install ## write the tables of docs/settings.md from the code
	$(PYTHON) -m worker.protocol.settings_table docs/settings.md

dashboards: install ## write the Grafana boards from deploy/grafana/boards
	$(PYTHON) -m deploy.grafana.boards

demo-model: install ## train the demo models again from the tables in editing_core/demo/text (about an hour on two cores)
	for architecture in gptj gptneox; do \
	  MALLOC_MMAP_THRESHOLD_=4294967296 MALLOC_TRIM_THRESHOLD_=8589934592 \
	  $(PYTHON) -m editing_core.demo.train --architecture $$architecture --out editing_core/demo/models/$$architecture \
	    || exit 1; \
	done
	$(PYTHON) -m editing_core.demo.recall

bench: install ## measure the figures of docs/benchmarks.md on this machine; FOLDER=… times the core on its model
	$(PYTHON) -m tests.benchmarks $(if $(FOLDER),--folder $(FOLDER))
