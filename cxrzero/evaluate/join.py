"""Which prediction belongs to which reference row: by identifiers, checked one to one, never by row order."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from cxrzero.errors import ConfigError
from cxrzero.maths import Ints
from cxrzero.tables.names import PATH_NAMES, SOP_NAMES, STUDY_NAMES, fold

EXAMPLES = 5  # identifiers shown for each kind of mismatch


@dataclass(frozen=True, slots=True)
class JoinReport:
    """What was joined and what was not; counts of rows, with the first few identifiers of each kind.

    Attributes:
        key: what was compared, in words.
        level: "image" one prediction per reference row, "study" several predictions averaged for one.
        n_predictions, n_references, n_matched: rows of each table; reference rows with a prediction.
        only_predictions, only_references: identifiers found on one side only.
        duplicate_predictions, duplicate_references: identifiers that occur more than once; none of their rows is used.
    """

    key: str
    level: str
    n_predictions: int
    n_references: int
    n_matched: int
    n_only_predictions: int = 0
    n_only_references: int = 0
    n_duplicate_predictions: int = 0
    n_duplicate_references: int = 0
    examples: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def decisive(self) -> bool:
        """Whether one table was used up to its last row, so that no looser way to join could do better."""
        if self.n_duplicate_predictions or self.n_duplicate_references:
            return False
        return self.n_only_predictions == 0 or self.n_only_references == 0


@dataclass(frozen=True, slots=True)
class Join:
    """Row numbers of the pairs.

    Attributes:
        references: (m,) rows of the reference table that have a prediction, ascending.
        predictions: (k,) rows of the prediction table that are used; k = m at image level.
        target: (k,) position in `references` that each of them belongs to.
        keys: (m,) identifier of each joined row.
    """

    references: Ints
    predictions: Ints
    target: Ints
    keys: list[str]
    report: JoinReport


Identifiers = dict[str, list[str]]
Transform = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Candidate:
    """One way to join: a column of each table, what is done to its cells, and the level."""

    prediction_column: str
    reference_column: str
    how: str
    to_prediction_key: Transform
    to_reference_key: Transform
    level: str

    @property
    def words(self) -> str:
        columns = self.prediction_column
        if self.reference_column != self.prediction_column:
            columns += f" = {self.reference_column}"
        return f"{columns} ({self.how})"


def join_rows(
    predictions: Identifiers, references: Identifiers, on: tuple[str, str] | None = None, level: str = "auto"
) -> Join:
    """Join two tables by the identifier that pairs most reference rows; equal ones: the strictest.

    Args:
        predictions, references: identifier columns by name.
        on: (prediction column, reference column) to use; None tries those whose names are known.
        level: "image", "study", or "auto" for the better of the two.

    Raises:
        ConfigError: there is no column to join by, or no pair was found.
    """
    best: Join | None = None
    for candidate in _candidates(predictions, references, on, level):
        joined = _join(candidate, predictions, references)
        if best is None or joined.report.n_matched > best.report.n_matched:
            best = joined
        if best.report.decisive:
            break
    if best is None:
        raise ConfigError(
            "the tables have no identifier in common (path, file name, study or SOP instance UID were looked for); "
            f"name the columns with --on PREDICTION=LABEL. Predictions: {', '.join(predictions) or 'none'}; "
            f"labels: {', '.join(references) or 'none'}"
        )
    if best.report.n_matched == 0:
        shown = best.report.examples
        raise ConfigError(
            f"no prediction matches a label row by {best.report.key}: predictions have "
            f"{_first(shown.get('only_predictions'))}, labels have {_first(shown.get('only_references'))}; "
            "name other columns with --on PREDICTION=LABEL"
        )
    return best


def tail(parts: int | None) -> Transform:
    """The last `parts` components of a path (all for None), with / and in one Unicode form."""

    def key(cell: str) -> str:
        whole = _plain_path(cell)
        return whole if parts is None else "/".join(whole.split("/")[-parts:])

    return key


def stem(cell: str) -> str:
    """File name without its last suffix."""
    name = _plain_path(cell).rsplit("/", 1)[-1]
    return name.rsplit(".", 1)[0] if "." in name[1:] else name


def folder_tail(parts: int | None) -> Transform:
    """The last components of a path's folder."""
    keep = tail(parts)
    return lambda cell: keep(_plain_path(cell).rpartition("/")[0])


def _plain_path(cell: str) -> str:
    return unicodedata.normalize("NFC", cell.strip().replace("\\", "/")).removeprefix("./").rstrip("/")


def _candidates(
    predictions: Identifiers, references: Identifiers, on: tuple[str, str] | None, level: str
) -> Iterator[Candidate]:
    """Ways to join, strictest first."""
    if on is not None:
        pairs = {"path": [on]} if level != "study" else {}
        study_pairs = [on] if level != "image" else []
        folder_pairs = study_pairs
    else:
        pairs = {
            "sop": _pairs(predictions, references, SOP_NAMES, SOP_NAMES) if level != "study" else [],
            "path": _pairs(predictions, references, PATH_NAMES, PATH_NAMES) if level != "study" else [],
        }
        study_pairs = _pairs(predictions, references, STUDY_NAMES, STUDY_NAMES) if level != "image" else []
        folder_pairs = _pairs(predictions, references, PATH_NAMES, STUDY_NAMES) if level != "image" else []
    for one, other in pairs.get("sop", []):
        yield Candidate(one, other, "exact", str.strip, str.strip, "image")
    for one, other in pairs.get("path", []):
        yield Candidate(one, other, "whole path", tail(None), tail(None), "image")
        for n in (5, 4, 3, 2):
            yield Candidate(one, other, f"last {n} path components", tail(n), tail(n), "image")
        yield Candidate(one, other, "file name", tail(1), tail(1), "image")
        yield Candidate(one, other, "file name without suffix", stem, stem, "image")
    for one, other in study_pairs:
        yield Candidate(one, other, "exact, several images per study", str.strip, str.strip, "study")
    for one, other in folder_pairs:
        yield Candidate(one, other, "folder of the image", folder_tail(None), tail(None), "study")
        for n in (4, 3, 2, 1):
            yield Candidate(one, other, f"folder, last {n} components", folder_tail(n), tail(n), "study")


def _pairs(
    predictions: Identifiers, references: Identifiers, prediction_names: Sequence[str], reference_names: Sequence[str]
) -> list[tuple[str, str]]:
    ones = [name for name in predictions if fold(name) in prediction_names and any(predictions[name])]
    others = [name for name in references if fold(name) in reference_names and any(references[name])]
    return [(one, other) for one in ones for other in others]


def _join(candidate: Candidate, predictions: Identifiers, references: Identifiers) -> Join:
    prediction_keys = [candidate.to_prediction_key(cell) for cell in predictions[candidate.prediction_column]]
    reference_keys = [candidate.to_reference_key(cell) for cell in references[candidate.reference_column]]
    reference_count = Counter(reference_keys)
    prediction_count = Counter(prediction_keys)
    many = candidate.level == "study"
    place: dict[str, int] = {}
    rows: list[int] = []
    for row, key in enumerate(reference_keys):
        if key and reference_count[key] == 1 and (n := prediction_count.get(key, 0)) and (many or n == 1):
            place[key] = len(rows)
            rows.append(row)
    used = [(row, place[key]) for row, key in enumerate(prediction_keys) if key in place]
    pairs = np.array(used, dtype=np.int64).reshape(-1, 2)
    mismatches = {
        "only_predictions": [key for key in prediction_keys if key not in reference_count or not key],
        "only_references": [key for key in reference_keys if key not in prediction_count or not key],
        "duplicate_predictions": [] if many else [key for key, n in prediction_count.items() if n > 1 and key],
        "duplicate_references": [key for key, n in reference_count.items() if n > 1 and key],
    }
    report = JoinReport(
        key=candidate.words,
        level=candidate.level,
        n_predictions=len(prediction_keys),
        n_references=len(reference_keys),
        n_matched=len(rows),
        **{f"n_{kind}": len(keys) for kind, keys in mismatches.items()},
        examples={kind: tuple(keys[:EXAMPLES]) for kind, keys in mismatches.items() if keys},
    )
    keys = [reference_keys[row] for row in rows]
    return Join(np.array(rows, dtype=np.int64), pairs[:, 0], pairs[:, 1], keys, report)


def _first(examples: tuple[str, ...] | None) -> str:
    return repr(examples[0]) if examples else "only repeated identifiers"
