# Everything that a fresh machine needs is in two commands: make demo, make test.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: demo test format clean

demo: $(VENV)/.core-installed
	$(BIN)/cxrzero predict examples/ --labels "cardiomegaly,pleural effusion,pneumonia" --out predictions.csv --overwrite

test: $(VENV)/.test-installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest

format: $(VENV)/.test-installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache predictions.csv predictions.run.json

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# A stamp is as old as the last install; a changed pyproject.toml installs again.
$(VENV)/.core-installed: pyproject.toml | $(BIN)/python
	$(PIP) install --quiet --editable .
	touch $@

$(VENV)/.test-installed: pyproject.toml | $(BIN)/python
	$(PIP) install --quiet --editable '.[test]'
	touch $@ $(VENV)/.core-installed
