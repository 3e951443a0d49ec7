# Everything a checkout can do. Each target prepares what it needs; nothing outside this folder is touched.
# The MALLOC_ settings of demo-model nearly double the speed of training with glibc.
PYTHON := .venv/bin/python
STAMP := .venv/.installed
PYTEST := $(PYTHON) -m pytest

.DEFAULT_GOAL := help
.PHONY: help install demo up test test-slow check settings-table dashboards demo-model bench

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(STAMP) ## make .venv with everything in it; again only when pyproject.toml or constraints.txt change

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

demo: install ## the whole story on a small model in at most three minutes: ask, correct, ask again, roll back
	$(PYTHON) -m service.cli.demo

up: install ## Redis, service and worker on 127.0.0.1:8000; Ctrl-C stops all
	$(PYTHON) -m service.cli.main up

test: install ## the tests, with real Redis and small models
	$(PYTEST) -m "not slow"

test-slow: install ## the longer campaigns
	$(PYTEST) -m slow

check: install ## all that must hold before a change is merged: format, lint, types, layers, all tests
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m ruff check .
	$(PYTHON) -m mypy
	.venv/bin/lint-imports
	$(PYTEST) -m "not slow"
	$(PYTEST) -m slow

settings-table: install ## write the tables of docs/settings.md from the code
	$(PYTHON) -m worker.protocol.settings_table docs/settings.md

dashboards: install ## write Grafana's boards anew from deploy/grafana/boards
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
