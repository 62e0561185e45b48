"""Zero-shot AUROC on labelled images: the tool's own prompts and the intervals of `cxrzero eval`."""

from __future__ import annotations

import csv
import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cxrzero.errors import UsageError
from cxrzero.evaluate.discrimination import Options, auroc_estimate
from cxrzero.stats import influence
from cxrzero.stats.intervals import Estimate, wald
from cxrzero.stats.metrics import Ranking
from cxrzero.train.data.pairs import SHOWN

VALUES = {"1": 1.0, "1.0": 1.0, "0": 0.0, "0.0": 0.0, "": np.nan, "-1": np.nan, "-1.0": np.nan}
NOT_LABELS = ("image", "patient_id", "split")
CONFIDENCE = Options().confidence


@dataclass(frozen=True)
class Labelled:
    """A table of labelled images.

    Attributes:
        paths: (N,) files.
        labels: (L,) column names, asked as they are.
        truth: (N, L) float64: 1, 0, or NaN where it is not known.
        units: (N,) int64: images of one patient share a number, for the intervals.
        rows_sha256: hash of the file.
    """

    paths: list[Path]
    labels: list[str]
    truth: npt.NDArray[np.float64]
    units: npt.NDArray[np.int64]
    rows_sha256: str


def read_labelled(path: Path, image_root: Path | None) -> Labelled:
    """Read a CSV: `image`, perhaps `patient_id`, and a column for each label with 1, 0, or blank (or −1) = unknown.

    Raises:
        UsageError: it is not such a table, images are missing (all named), or no label has both classes.
    """
    try:
        content = path.read_bytes()
        rows = list(csv.DictReader(content.decode("utf-8-sig").splitlines()))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path} cannot be read as a UTF-8 CSV file: {error}") from error
    if not rows or "image" not in rows[0]:
        raise UsageError(f"{path} needs a column image, a column for each label, and rows")
    columns = [name for name in rows[0] if name and name not in NOT_LABELS]
    truth = np.array([[_value(path, number, row, name) for name in columns] for number, row in enumerate(rows, 2)])
    both = [i for i in range(len(columns)) if (truth[:, i] == 1).any() and (truth[:, i] == 0).any()]
    if not both:
        raise UsageError(f"{path}: no label column has both 1 and 0; there is no AUROC to measure")
    root = path.parent if image_root is None else image_root
    paths = [root / row["image"] for row in rows]
    absent = [str(each) for each in paths if not each.is_file()]
    if absent:
        more = f"\n  and {len(absent) - SHOWN} more" if len(absent) > SHOWN else ""
        raise UsageError(
            f"{path} names {len(absent)} images that do not exist:\n  " + "\n  ".join(absent[:SHOWN]) + more
        )
    patients = [row.get("patient_id") or f"\x1f{number}" for number, row in enumerate(rows)]
    units = np.unique(patients, return_inverse=True)[1]
    labels = [columns[i] for i in both]
    return Labelled(paths, labels, truth[:, both], units.astype(np.int64), hashlib.sha256(content).hexdigest())


def score_labelled(table: Labelled, differences: npt.NDArray[np.floating]) -> tuple[dict[str, Estimate], Estimate]:
    """AUROC of each label, and their mean, with 95% intervals.

    Args:
        differences: (N, L) d = cos⁺ − cos⁻.
    """
    single, spread = {}, []
    for column, label in enumerate(table.labels):
        rows = np.flatnonzero(~np.isnan(table.truth[:, column]))
        truth = table.truth[rows, column] == 1
        ranking = Ranking.of(differences[rows, column].astype(np.float64), truth)
        found = influence.auroc_influence(ranking, table.units[rows])
        single[label] = auroc_estimate(found, truth, table.units[rows], CONFIDENCE)
        spread.append(found.spread(rows, len(table.paths)))
    if len(single) == 1:
        return single, next(iter(single.values()))
    macro = influence.mean(spread)
    error = macro.standard_error(table.units)
    return single, wald(macro.value, error, CONFIDENCE, "delong_macro") if error > 0 else Estimate(macro.value)


def _value(path: Path, line: int, row: dict[str, str], name: str) -> float:
    try:
        return VALUES[(row[name] or "").strip()]
    except KeyError:
        raise UsageError(f"{path}, line {line}: {name} must be 1, 0 or blank, not {row[name]!r}") from None
