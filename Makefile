# What people type. Each target needs only Python 3.11+ with venv; the first use makes .venv from the lock file.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: help demo test check format clean

help:
	@echo "make demo    one whole charging session on emulated hardware"
	@echo "make test    the tests"
	@echo "make check   ruff format, ruff check, mypy --strict, pytest"

.venv/.installed: requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	PYTHONWARNINGS=ignore $(BIN)/pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@

demo: .venv/.installed
	$(BIN)/station demo

test: .venv/.installed
	$(BIN)/python -m pytest

check: .venv/.installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest

format: .venv/.installed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf .venv
