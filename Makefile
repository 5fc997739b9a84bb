# Everyday commands. `make PYTHON=.venv/bin/python test` takes another interpreter.
PYTHON ?= python

.PHONY: help test torch lint types format wheel ci

help:
	@echo "test    the tests"
	@echo "torch   1,000 problems beside torch, which must be installed"
	@echo "lint    ruff"
	@echo "types   mypy"
	@echo "format  ruff format"
	@echo "wheel   build the wheel and the source distribution"
	@echo "ci      what CI runs, in a fresh virtual environment"

test:
	$(PYTHON) -m pytest

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
