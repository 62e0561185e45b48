"""Prediction tables of drawn scores, and the comparison of two."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from cxrzero.compare.options import CompareOptions
from cxrzero.compare.run import Comparison, compare
from cxrzero.prediction import FIXED_COLUMNS

Table = Callable[..., Path]
Compare = Callable[..., Comparison]


@pytest.fixture
def table(tmp_path: Path) -> Table:
    """table("a.csv", {"mass": [0.1, …]}, path=[…], frame=[…], …): one that `predict` could have written.

    A score that is None is a blank cell; `record` writes the record of a run beside it.
    """

    def made(
        name: str, scores: Mapping[str, Sequence[float | None]], record: dict[str, Any] | None = None, **cells: Any
    ) -> Path:
        n = len(next(iter(scores.values())))
        columns: dict[str, Any] = {column: [""] * n for column in FIXED_COLUMNS}
        columns |= {"path": [f"films/f{i}.png" for i in range(n)], "frame": [1] * n, "status": ["ok"] * n}
        columns |= {**cells, **scores}
        path = tmp_path / name
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(columns)
            writer.writerows(zip(*columns.values(), strict=True))
        if record is not None:
            (tmp_path / f"{path.stem}.run.json").write_text(json.dumps(_record(**record)), encoding="utf-8")
        return path

    return made


@pytest.fixture
def compared() -> Compare:
    """compared(a, b, …): what `compare` found, by options of the command; no bootstrap unless asked."""

    def made(a: Path, b: Path, **options: Any) -> Comparison:
        return compare(CompareOptions(str(a), str(b), **{"n_resamples": 0, **options}))

    return made


def _record(
    pseudonymise: bool = False,
    model: str = "m",
    words: str = "mass",
    labels: str = "independent",
    beside: str = "",
    along: Sequence[str] = (),
) -> dict[str, Any]:
    asked = {"mass": words} | ({beside: beside} if beside else {})
    return {
        "cxrzero": "0.2.0",
        "started": "2026-01-01T00:00:00+00:00",
        "precision": "fp32",
        "models": [{"name": model, "fingerprint": "f" * 64}],
        "scoring": {"rule": "scorer", "labels": labels, "companions": list(along)},
        "prompts": [{"label": name, "positive": [text], "negative": [f"no {text}"]} for name, text in asked.items()],
        "options": {"invert": "auto", "fast_decode": 0, "pseudonymise": pseudonymise},
    }
