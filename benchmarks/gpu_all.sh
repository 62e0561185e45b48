#!/usr/bin/env bash
# Everything about a GPU in one run on a machine without a network: see benchmarks/gpu/run.py.
#
#     bash benchmarks/gpu_all.sh [--wheels DIR] [--seconds 400] [--out FOLDER] [--only REGEX] [--device cpu] [--work DIR]
#
# PYTHON names the interpreter, by default python3. Nothing needs to be installed that DIR has as a wheel, not even
# cxrzero, which runs from this checkout. Rows are printed and in FOLDER/gpu.jsonl as soon as they are known.
set -eu
here=$(pwd)
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$here"
PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}" exec "${PYTHON:-python3}" -m benchmarks.gpu.run "$@"
