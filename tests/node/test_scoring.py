"""The process that scores: a film that ends it ends nothing else."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from pathlib import Path

import pytest

from cxrzero import Screener
from cxrzero.errors import BundleError
from cxrzero.node.scoring import Scoring, ScoringDiedError
from tests.support.working import config_of, film


def score(scoring: Scoring, path: Path) -> tuple[str, Mapping[str, float], frozenset[str]]:
    [[[row]]] = scoring.score([[str(path)]])
    return row.path, row.scores, row.flags


def test_it_dies_hangs_and_is_started_again(tmp_path: Path, tiny_bundle: Path) -> None:
    path = tmp_path / "film"
    path.write_bytes(film(1))
    [row] = Screener(tiny_bundle, cache=False).predict(path)
    expected = row.path, row.scores, row.flags
    with Scoring(config_of(tmp_path, tiny_bundle)) as scoring:
        scoring.start()
        assert [each["name"] for each in scoring.record["models"]] == ["tiny"]
        assert scoring._process is not None
        os.kill(scoring._process.pid or 0, signal.SIGTERM)  # as a service manager does to all processes of a node
        assert score(scoring, path) == expected
        os.kill(scoring._process.pid or 0, signal.SIGKILL)  # as the system does when memory runs out
        with pytest.raises(ScoringDiedError):
            score(scoring, path)
        assert score(scoring, path) == expected
        scoring._hang_s = 0.0
        with pytest.raises(ScoringDiedError, match="hangs"):
            score(scoring, path)
        assert scoring._process is None


def test_a_model_that_is_not_there_is_said_as_predict_says_it(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with Scoring(config_of(tmp_path, tmp_path / "empty")) as scoring, pytest.raises(BundleError, match="empty"):
        scoring.start()
