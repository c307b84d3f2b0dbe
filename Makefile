# `make search` and `make test` set up everything they need in .venv; nothing has to be installed before but Python >= 3.11.

PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
AUTOGROW_ARGS ?=
# On a terminal pip draws the progress of each download; elsewhere one line is enough.
PIP_OUTPUT := $(shell test -t 2 || echo --quiet)
say_installing = @echo "installing torch, ray, optuna and what they need into .venv: hundreds of megabytes, a minute or more" >&2

.PHONY: search test fast lint format bench clean

search: .venv/installed
	$(BIN)/autogrow search $(AUTOGROW_ARGS)

test: .venv/installed-test lint
	$(BIN)/python -m pytest -n 2 --dist worksteal

fast: .venv/installed-test
	$(BIN)/python -m pytest -m "not slow" -n auto

lint: .venv/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: .venv/installed-test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: .venv/installed-test
	$(BIN)/python -m tests.benchmarks

clean:
	rm -rf .venv

.venv/bin/python:
	@test -n "$(PYTHON)" || { echo "autogrow needs Python 3.11 or newer: install it, or set PYTHON=/path/to/python3" >&2; exit 2; }
	$(PYTHON) -m venv .venv

.venv/installed: pyproject.toml constraints.txt | .venv/bin/python
	$(call say_installing)
	$(BIN)/python -m pip install $(PIP_OUTPUT) --disable-pip-version-check -c constraints.txt -e .
	@touch $@

.venv/installed-test: pyproject.toml constraints.txt | .venv/bin/python
	$(call say_installing)
	$(BIN)/python -m pip install $(PIP_OUTPUT) --disable-pip-version-check -c constraints.txt -e '.[test]'
	@touch .venv/installed $@
