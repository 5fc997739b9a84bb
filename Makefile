# Everyday commands. `make PYTHON=.venv/bin/python test` takes another interpreter.
PYTHON ?= python

# asv measures commits in environments of its own; HERE=1: the commit that is checked out, in this interpreter (torch
# takes part where it is installed). BENCH is a regular expression of what to run.
ASV = $(PYTHON) -m asv --config benchmarks/asv.conf.json
BENCH ?= .
BASE ?= main

.PHONY: help test torch lint types format wheel ci bench compare dashboard performance

help:
	@echo "test    the tests"
	@echo "torch   1,000 problems beside torch, which must be installed"
	@echo "lint    ruff"
	@echo "types   mypy"
	@echo "format  ruff format"
	@echo "wheel   build the wheel and the source distribution"
	@echo "ci      what CI runs, in a fresh virtual environment"
	@echo "bench        measure this commit with asv, 25 minutes; BENCH=Layers: some of it; HERE=1: this interpreter"
	@echo "compare      BASE=main beside this commit: what got slower or faster"
	@echo "dashboard    publish what was measured and serve it at http://127.0.0.1:8080"
	@echo "performance  docs/performance.md from new measurements, 12 minutes"

test:
	$(PYTHON) -m pytest -n 2 --dist worksteal

torch:
	$(PYTHON) -m pytest tests/test_torch.py -s

lint:
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .

types:
	$(PYTHON) -m mypy

format:
	$(PYTHON) -m ruff check --fix .
	$(PYTHON) -m ruff format .

wheel:
	$(PYTHON) -m build

ci:
	bash .ci/run

bench:
	@$(ASV) machine --yes >/dev/null
	$(ASV) run --show-stderr --bench '$(BENCH)' $(if $(HERE),--environment existing:same --set-commit-hash HEAD,HEAD^!)

compare:
	@$(ASV) machine --yes >/dev/null
	$(ASV) continuous --factor 1.15 --bench '$(BENCH).*track_(time_over|beyond|compiled)' $(BASE) HEAD

dashboard:
	$(PYTHON) benchmarks/dashboard.py

performance:
	$(PYTHON) benchmarks/performance.py
