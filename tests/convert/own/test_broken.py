"""Some of the broken pairs of benchmarks/fuzz_onnx.py: each becomes a bundle, or a typed error that leaves nothing."""

from __future__ import annotations

import collections
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.fuzz_onnx import ENDED, KeptTrial, outcome_of
from cxrzero.convert.own import examples, importer
from tests.convert.own.conftest import drawn
from tests.support.mutateonnx import write_mutant
from tests.support.ownencoders import Pair

CASES = 80


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A real process that runs the graphs, one for all cases."""
    monkeypatch.setattr(importer, "Trial", KeptTrial)
    monkeypatch.setattr(examples, "draw", drawn)
    yield
    if KeptTrial.kept is not None:
        KeptTrial.kept.close()
        KeptTrial.kept = None


@pytest.mark.usefixtures("kept")
def test_broken_pairs(pair: Pair, tmp_path: Path) -> None:
    outcomes: collections.Counter[str] = collections.Counter()
    for number in range(CASES):
        write_mutant(pair, number)
        into = tmp_path / str(number)
        into.mkdir()
        outcome, why = outcome_of(pair, into / "bundle")
        outcomes[outcome] += 1
        assert outcome in ("imported", "ImportModelError", "TokenizerError", ENDED), (number, outcome, why)
    assert outcomes["imported"] > CASES // 20  # most mutants of a kind are harmless; if none was, all stop too early
    assert outcomes["ImportModelError"] > CASES // 2
