"""Rows and run records, as short as a database takes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import sqlalchemy

from cxrzero.database.store import Database
from cxrzero.images.radiograph import Facts
from cxrzero.prediction import Prediction

LABELS = ("edema", "mass, left")


def record(labels: Sequence[str] = LABELS, model: str = "tiny", **more: Any) -> dict[str, Any]:
    prompts = [{"label": label, "positive": [label], "negative": [f"no {label}"]} for label in labels]
    models = [{"name": model, "fingerprint": f"{model}-" + 12 * "f"}]
    return {"models": models, "prompts": prompts, "started": "2026-01-31T12:00:00.000+00:00", **more}


def film(
    number: int, labels: Sequence[str] = LABELS, scores: Mapping[str, float] | None = None, **more: Any
) -> Prediction:
    """A scored film of study `number // 2`; scores are float32 numbers."""
    facts = Facts("DX", "PA", "MONOCHROME2", f"1.2.{number // 2}", f"1.3.{number}", f"1.4.{number}")
    given = {label: number / 100 + place / 1000 for place, label in enumerate(labels)} if scores is None else scores
    exact = {label: float(np.float32(score)) for label, score in given.items()}
    row: dict[str, Any] = {"frame": 1, "facts": facts, "scores": exact, **more}
    return Prediction(f"archive/{number}.dcm", labels, "ok", **row)


def failure(path: str, error: str = "empty_file: the file is empty", **more: Any) -> Prediction:
    return Prediction(path, LABELS, "failed", error=error, code=error.partition(":")[0], **more)


def ask(database: Database, statement: str) -> list[tuple[Any, ...]]:
    """What a SELECT gives."""
    with database.connector.reading() as connection:
        return [tuple(row) for row in connection.execute(sqlalchemy.text(statement))]


def count(database: Database, table: str) -> int:
    return int(ask(database, f"SELECT count(*) FROM {table}")[0][0])
