"""metrics.jsonl, and the same numbers for TensorBoard where it is installed."""

from __future__ import annotations

import importlib.util
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType

import pytest

from cxrzero.errors import OutputError
from cxrzero.train.measure import metricslog
from cxrzero.train.measure.metricslog import MetricsLog


class Board:
    """What torch.utils.tensorboard's SummaryWriter is asked for."""

    def __init__(self, folder, purge_step):
        self.folder, self.purge_step, self.scalars, self.closed = folder, purge_step, [], False
        boards.append(self)

    def add_scalar(self, name, value, step):
        self.scalars.append((name, value, step))

    def close(self):
        self.closed = True


boards: list[Board] = []


@pytest.fixture
def tensorboard(monkeypatch):
    boards.clear()
    for name, content in (("tensorboard", {}), ("torch.utils.tensorboard", {"SummaryWriter": Board})):
        module = ModuleType(name)
        module.__spec__ = ModuleSpec(name, None)
        module.__dict__.update(content)
        monkeypatch.setitem(sys.modules, name, module)


def test_tensorboard_is_told_every_number(tensorboard, tmp_path):
    with MetricsLog(tmp_path, 0, 7) as log:
        log.write({"step": 8, "epoch": 1, "loss": 2.5, "lr": 1e-3, "gradient_norm": None})
        log.write({"step": 8, "epoch": 1, "validation": {"auroc": (0.75, 0.5, 0.875), "retrieval": {"r1": 0.25}}})
    (board,) = boards
    assert (board.folder, board.purge_step, board.closed) == (tmp_path / "tensorboard", 7, True)
    assert board.scalars == [
        ("loss", 2.5, 8),
        ("lr", 1e-3, 8),
        ("validation/auroc", 0.75, 8),
        ("validation/auroc/low", 0.5, 8),
        ("validation/auroc/high", 0.875, 8),
        ("validation/retrieval/r1", 0.25, 8),
    ]


def test_without_tensorboard_there_is_the_file(monkeypatch, tmp_path):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with MetricsLog(tmp_path, 0, 0) as log:
        log.write({"step": 1, "loss": 2.5})
    assert metricslog.read(tmp_path) == [{"step": 1, "loss": 2.5}]
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_what_was_written_after_the_checkpoint_is_cut_off(monkeypatch, tmp_path):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with MetricsLog(tmp_path, 0, 0) as log:
        log.write({"step": 1})
        kept = log.position()
        log.write({"step": 2})
    with MetricsLog(tmp_path, kept, 1) as log:
        log.write({"step": 2, "again": True})
    assert metricslog.read(tmp_path) == [{"step": 1}, {"step": 2, "again": True}]
    with pytest.raises(OutputError, match="shorter than when"):
        MetricsLog(tmp_path, 10_000, 1)
