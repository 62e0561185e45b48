"""The study-level table of `--by study`: one row per study, its frontal views aggregated.

What this module does not know: pictures. It sees finished rows, and keeps a few numbers per study.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from cxrzero.choices import Aggregate
from cxrzero.prediction import Cell, Prediction

# Scored, but not a separate frontal view of this chest: it would blur what the frontal views say.
LEFT_OUT = ("lateral", "body_part_not_chest", "maybe_not_chest_xray", "for_processing")

STUDY_COLUMNS: dict[str, type] = {
    "study": str,
    "study_instance_uid": str,
    "images_used": int,
    "images_left_out": int,
    "left_out_reasons": str,
}


@dataclass(slots=True)
class _Study:
    uid: str
    total: npt.NDArray[np.float64]
    used: int = 0
    left_out: Counter[str] = field(default_factory=Counter)


class Studies:
    """Collects rows by Study Instance UID, else by the file's folder.

    Args:
        labels: the label columns.
        aggregate: "mean" or "max" of the probabilities of the images used.
    """

    def __init__(self, labels: Sequence[str], aggregate: Aggregate = "mean") -> None:
        self.columns = {**STUDY_COLUMNS, **dict.fromkeys(labels, float)}
        self._labels = tuple(labels)
        self._aggregate = aggregate
        self._studies: dict[str, _Study] = {}

    def add(self, row: Prediction) -> None:
        """Count a row in; failed, skipped and non-frontal images are counted with their reason."""
        key = row.facts.study_instance_uid or (os.path.dirname(row.path) or ".")
        study = self._studies.setdefault(key, _Study(row.facts.study_instance_uid, np.zeros(len(self._labels))))
        reason = _reason(row)
        if reason:
            study.left_out[reason] += 1
            return
        scores = np.array([row.scores[label] for label in self._labels])
        study.total = study.total + scores if self._aggregate == "mean" else np.maximum(study.total, scores)
        study.used += 1

    def rows(self) -> Iterator[dict[str, Cell]]:
        """One row per study in the order of first appearance; no probability where no image was used."""
        for key, study in self._studies.items():
            row: dict[str, Cell] = {
                "study": key,
                "study_instance_uid": study.uid,
                "images_used": study.used,
                "images_left_out": study.left_out.total(),
                "left_out_reasons": ";".join(f"{reason}:{n}" for reason, n in sorted(study.left_out.items())),
            }
            divisor = study.used if self._aggregate == "mean" else 1
            for label, total in zip(self._labels, study.total, strict=True):
                row[label] = float(total) / divisor if study.used else None
            yield row


def _reason(row: Prediction) -> str:
    if row.status != "ok":
        return f"{row.status}_{row.code}"
    return next((flag for flag in LEFT_OUT if flag in row.flags), "")
