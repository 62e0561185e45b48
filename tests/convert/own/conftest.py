"""Encoders of a user's own, imported without torch; where nothing crashes, without a process for each import, too."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from cxrzero.convert.own.asked import OwnEncoders
from cxrzero.model.bundle import Bundle, load_bundle
from cxrzero.model.model_json import Scoring, Templates
from cxrzero.phantom import draw
from tests.support import needs

needs.modules("onnx")

from cxrzero.convert.own import examples, importer, trial  # noqa: E402
from tests.support.ownencoders import Pair  # noqa: E402

Import = Callable[..., tuple[Bundle, tuple[str, ...]]]


@pytest.fixture
def one_thread() -> None:
    """Instead of the one for torch."""


drawn = cache(draw)  # the same three films for every import


class Here(trial.Trial):
    """Runs graphs in this process."""

    def __init__(self, size: int) -> None:
        pass

    def _ask(self, graph: Path, called: Path, feeds: Sequence[trial.Feed]) -> Any:
        return trial.answers(graph, feeds)

    def close(self) -> None:
        pass


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importer, "Trial", Here)
    monkeypatch.setattr(examples, "draw", drawn)


@pytest.fixture
def imported(here: None, tmp_path: Path) -> Import:
    """Import a pair: imported(pair, pad_id=0) → the bundle and what was said."""

    def run(pair: Pair, **stated: Any) -> tuple[Bundle, tuple[str, ...]]:
        lines = importer.import_encoders(asked(pair, **stated), tmp_path / "bundle", "mine")
        return load_bundle(tmp_path / "bundle"), lines

    return run


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return Pair(tmp_path / "pair").write()


def asked(pair: Pair, **stated: Any) -> OwnEncoders:
    own: dict[str, Any] = {
        "image": pair.image_file,
        "text": pair.text_file,
        "tokenizer": pair.tokenizer_file,
        "steps": pair.steps_file,
        "scoring": Scoring("softmax_pair", 10.0),
        "templates": Templates(("{}",), ("no {}",)),
    }
    return OwnEncoders(**(own | stated))
