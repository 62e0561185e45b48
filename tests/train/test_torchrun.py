"""`torchrun -m cxrzero train`, as a user starts it: two processes on the CPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

pytest.importorskip("torch")
import torch

from cxrzero.errors import DeviceError, UsageError
from cxrzero.model.bundle import load_bundle
from cxrzero.train.distributed import join
from tests.support import REPO
from tests.support.pairs import draw


def torchrun(*arguments):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "cxrzero"]
    environment = os.environ | {"PYTHONPATH": str(REPO), "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    return subprocess.run(
        [*command, *map(str, arguments)], env=environment, capture_output=True, text=True, timeout=300
    )


@pytest.mark.parametrize(("device", "place"), [("cuda", "cuda:0"), ("cuda:1", "cuda:1"), ("auto", "cuda:0")])
def test_one_process_computes_on_the_gpu_that_it_is_told(monkeypatch, device, place):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with join(device) as world:
        assert world.device == torch.device(place)


def test_a_gpu_that_is_not_there_and_one_for_several_processes(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(DeviceError, match="there is no cuda:2: torch shows 2 GPUs"), join("cuda:2"):
        pass
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match="under torchrun each process takes its own GPU"), join("cuda:1"):
        pass


def test_two_processes_end_in_one_bundle(tmp_path):
    pairs = draw(tmp_path / "films", 16, held_out=4)
    run = tmp_path / "run"
    options = ["--arch", "cxrzero-tiny", "--batch-size", 6, "--epochs", 1, "--device", "cpu", "--precision", "auto"]
    done = torchrun("train", pairs, "--out", run, *options)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count(f"Wrote {run}") == 1  # only the first process speaks
    bundle = load_bundle(run)
    recipe = bundle.card["provenance"]["recipe"]
    assert recipe["processes"] == 2
    assert done.stderr.count(f"Training computes in {recipe['precision']}, by measurement on cpu") == 1
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text("utf-8").splitlines()]
    assert [record["step"] for record in records if "loss" in record] == [1, 2]
