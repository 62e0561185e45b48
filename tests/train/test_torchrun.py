"""`torchrun -m cxrzero train`, as a user starts it: two processes on the CPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

pytest.importorskip("torch")
from cxrzero.model.bundle import load_bundle
from tests.support import REPO
from tests.support.pairs import draw


def torchrun(*arguments):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "cxrzero"]
    environment = os.environ | {"PYTHONPATH": str(REPO), "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    return subprocess.run(
        [*command, *map(str, arguments)], env=environment, capture_output=True, text=True, timeout=300
    )


def test_two_processes_end_in_one_bundle(tmp_path):
    pairs = draw(tmp_path / "films", 16, held_out=4)
    run = tmp_path / "run"
    options = ["--arch", "cxrzero-tiny", "--batch-size", 6, "--epochs", 1, "--device", "cpu"]
    done = torchrun("train", pairs, "--out", run, *options)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count(f"Wrote {run}") == 1  # only the first process speaks
    bundle = load_bundle(run)
    assert bundle.card["provenance"]["recipe"]["processes"] == 2
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text("utf-8").splitlines()]
    assert [record["step"] for record in records if "loss" in record] == [1, 2]
