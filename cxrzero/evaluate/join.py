"""Which prediction belongs to which reference row: by identifiers, checked one to one, never by row order."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from cxrzero.display.counts import counted
from cxrzero.errors import ConfigError
from cxrzero.evaluate.keys import Transform, folder_tail, is_in_powers, is_short, plain_path, stem
from cxrzero.evaluate.ways import Candidate, Identifiers, ways_to_join
from cxrzero.maths import Ints
from cxrzero.tables.studies import MOST_IMAGES

EXAMPLES = 5  # identifiers shown for each kind of mismatch


@dataclass(frozen=True, slots=True)
class JoinReport:
    """What was joined and what was not; counts of rows, with the first few identifiers of each kind.

    Attributes:
        key: what was compared, in words.
        level: "image" one prediction per film, "study" all predictions of a study for one row.
        n_predictions, n_references: rows of each table.
        n_matched, n_matched_rows: films (or studies) that both tables have; the label table's rows of them.
        n_several: of those joined, how many have several predictions (frames of a film, images of a study).
        n_repeated: of those joined, how many have several rows in the label table, which are merged.
        n_crowded: of studies joined, how many have more images than a study has (`tables/studies.py: MOST_IMAGES`).
        n_mixed: of studies joined, how many have images of different Study Instance UIDs.
        only_predictions, only_references: identifiers found on one side only.
        duplicate_predictions, duplicate_references: identifiers that stand for different files or folders, or for
            predictions that are not frames of one; none of their rows is used.
        hints: what may be wrong with identifiers that were not joined, in sentences.
    """

    key: str
    level: str
    n_predictions: int
    n_references: int
    n_matched: int
    n_matched_rows: int
    n_several: int = 0
    n_repeated: int = 0
    n_crowded: int = 0
    n_mixed: int = 0
    n_only_predictions: int = 0
    n_only_references: int = 0
    n_duplicate_predictions: int = 0
    n_duplicate_references: int = 0
    examples: dict[str, tuple[str, ...]] = field(default_factory=dict)
    hints: tuple[str, ...] = ()

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
        references: (m,) the first row of each film (or study) in the reference table, of those with a prediction.
        predictions: (k,) rows of the prediction table that are used.
        target: (k,) position in `references` that each of them belongs to.
        label_rows: (r,) all rows of those films in the reference table; r = m where each has one.
        label_target: (r,) position in `references` that each of them belongs to.
        keys: (m,) identifier of each.
    """

    references: Ints
    predictions: Ints
    target: Ints
    label_rows: Ints
    label_target: Ints
    keys: list[str]
    report: JoinReport


def join_rows(
    predictions: Identifiers,
    references: Identifiers,
    on: tuple[str, str] | None = None,
    level: str = "auto",
    frames: Sequence[str] | None = None,
) -> Join:
    """Join two tables by the identifier that pairs most; equal ones: the strictest.

    Several rows of the reference table for one film are all joined to it.

    Args:
        predictions, references: identifier columns by name.
        on: (prediction column, reference column) to use; None tries those whose names are known.
        level: "image", "study", or "auto" for the better of the two.
        frames: of each prediction, its frame: predictions of one file with different frames are one film's.

    Raises:
        ConfigError: there is no column to join by, no pair was found, or a spreadsheet has destroyed identifiers.
    """
    best, chosen = closest_join(predictions, references, on, level, frames) or (None, None)
    if best is None or chosen is None:
        raise ConfigError(
            "the tables have no identifier in common (path, file name, study or SOP instance UID were looked for); "
            f"name the columns with --on PREDICTION=LABEL. Predictions: {', '.join(predictions) or 'none'}; "
            f"labels: {', '.join(references) or 'none'}"
        )
    columns = {"predictions": predictions[chosen.prediction_column], "labels": references[chosen.reference_column]}
    check_digits(columns)
    hints = hints_of(chosen, columns["predictions"], columns["labels"])
    if best.report.n_matched == 0:
        for candidate in ways_to_join(predictions, references, on, level):
            _check_not_all_repeated(candidate, predictions, references)
        shown = best.report.examples
        raise ConfigError(
            f"no prediction matches a label row by {best.report.key}: predictions have "
            f"{_first(shown.get('only_predictions'))}, labels have {_first(shown.get('only_references'))}; "
            f"name other columns with --on PREDICTION=LABEL{''.join(f'. {hint}' for hint in hints)}"
        )
    return replace(best, report=replace(best.report, hints=hints))


def closest_join(
    predictions: Identifiers,
    references: Identifiers,
    on: tuple[str, str] | None,
    level: str,
    frames: Sequence[str] | None,
) -> tuple[Join, Candidate] | None:
    """The way to join that pairs most, which may be nothing, see `join_rows`; None where there is no way."""
    best: tuple[Join, Candidate] | None = None
    for candidate in ways_to_join(predictions, references, on, level):
        joined = _join(candidate, predictions, references, frames)
        if best is None or _worth(joined.report) > _worth(best[0].report):
            best = joined, candidate
        if best[0].report.decisive:
            break
    return best


def _join(
    candidate: Candidate, predictions: Identifiers, references: Identifiers, frames: Sequence[str] | None
) -> Join:
    prediction_cells = predictions[candidate.prediction_column]
    reference_cells = references[candidate.reference_column]
    prediction_keys = [candidate.to_prediction_key(cell) for cell in prediction_cells]
    reference_keys = [candidate.to_reference_key(cell) for cell in reference_cells]
    reference_count = Counter(reference_keys)
    prediction_count = Counter(prediction_keys)
    several_files = _of_several_files(reference_keys, reference_cells, reference_count)
    if candidate.level == "study":
        # "study1" of two patients is two studies; a number or UID is one, wherever its films lie.
        folders = [folder_tail(None)(cell) for cell in prediction_cells]
        several_predictions = set(filter(is_short, _of_several_files(prediction_keys, folders, prediction_count)))
    else:
        several_predictions = {key for key, n in prediction_count.items() if n > 1}
        several_predictions -= _films_in_frames(prediction_keys, prediction_cells, prediction_count, frames)
    place: dict[str, int] = {}
    rows: list[int] = []
    for row, key in enumerate(reference_keys):
        if key and key in prediction_count and key not in place and key not in several_files | several_predictions:
            place[key] = len(rows)
            rows.append(row)
    pairs, label_pairs = (
        np.array([(row, place[key]) for row, key in enumerate(keys) if key in place], np.int64).reshape(-1, 2)
        for keys in (prediction_keys, reference_keys)
    )
    mismatches = {
        "only_predictions": [key for key in prediction_keys if key not in reference_count or not key],
        "only_references": [key for key in reference_keys if key not in prediction_count or not key],
        "duplicate_predictions": [key for key in prediction_count if key and key in several_predictions],
        "duplicate_references": [key for key, n in reference_count.items() if n > 1 and key and key not in place],
    }
    is_study = candidate.level == "study"
    report = JoinReport(
        key=candidate.words,
        level=candidate.level,
        n_predictions=len(prediction_keys),
        n_references=len(reference_keys),
        n_matched=len(rows),
        n_matched_rows=len(label_pairs),
        n_several=sum(prediction_count[key] > 1 for key in place),
        n_repeated=sum(reference_count[key] > 1 for key in place),
        n_crowded=sum(prediction_count[key] > MOST_IMAGES for key in place) if is_study else 0,
        n_mixed=_of_several_uids(pairs, predictions) if is_study else 0,
        n_only_predictions=len(mismatches["only_predictions"]),
        n_only_references=len(mismatches["only_references"]),
        n_duplicate_predictions=len(mismatches["duplicate_predictions"]),
        n_duplicate_references=len(mismatches["duplicate_references"]),
        examples={kind: tuple(keys[:EXAMPLES]) for kind, keys in mismatches.items() if keys},
    )
    keys = [reference_keys[row] for row in rows]
    return Join(np.array(rows, np.int64), pairs[:, 0], pairs[:, 1], label_pairs[:, 0], label_pairs[:, 1], keys, report)


def _worth(report: JoinReport) -> tuple[int, int]:
    """What makes one way to join better than another: films with one row of labels, then films."""
    return report.n_matched - report.n_repeated, report.n_matched


def _of_several_uids(pairs: Ints, predictions: Identifiers) -> int:
    """How many joined rows have predictions with different Study Instance UIDs; pairs as (prediction, target)."""
    cells = predictions.get("study_instance_uid")
    if cells is None:
        return 0
    uids: defaultdict[int, set[str]] = defaultdict(set)
    for row, target in pairs.tolist():
        uids[target].add(cells[row])
    return sum(len(found - {""}) > 1 for found in uids.values())


def _of_several_files(keys: Sequence[str], cells: Sequence[str], count: Counter[str]) -> set[str]:
    """Keys that stand for different cells, such as one file name in two folders."""
    first: dict[str, str] = {}
    found = set()
    for key, cell in zip(keys, cells, strict=True):
        if count[key] > 1 and first.setdefault(key, plain_path(cell)) != plain_path(cell):
            found.add(key)
    return found


def _films_in_frames(
    keys: Sequence[str], cells: Sequence[str], count: Counter[str], frames: Sequence[str] | None
) -> set[str]:
    """Keys of one file each, whose rows are its frames."""
    if frames is None:
        return set()
    seen: dict[str, set[str]] = {key: set() for key, n in count.items() if n > 1}
    for key, frame in zip(keys, frames, strict=True):
        if key in seen and frame:
            seen[key].add(frame)
    return {key for key, each in seen.items() if len(each) == count[key]} - _of_several_files(keys, cells, count)


def check_digits(columns: Mapping[str, Sequence[str]]) -> None:
    """Refuse identifiers that a spreadsheet has made numbers of; cells by what to call their table, in the plural.

    Raises:
        ConfigError: there is one.
    """
    for table, cells in columns.items():
        row = next((row for row, cell in enumerate(cells) if is_in_powers(cell)), None)
        if row is not None:
            raise ConfigError(
                f"the {table} have the identifier {cells[row]!r} (data row {row + 1}): a spreadsheet made a number of "
                "it and lost digits, so that it may be anyone's; export the column as text"
            )


def _check_not_all_repeated(candidate: Candidate, predictions: Identifiers, references: Identifiers) -> None:
    """Of two tables without a pair: the identifiers that both have are each of several files, or there twice."""
    ours = set(map(candidate.to_prediction_key, predictions[candidate.prediction_column]))
    shared = next((key for key in map(candidate.to_reference_key, references[candidate.reference_column])
                   if key and key in ours), None)  # fmt: skip
    if shared is not None:
        raise ConfigError(
            f"no prediction can be joined by {candidate.words}: what both tables have, such as {shared!r}, occurs more "
            "than once in the predictions, or means several files; give each film one row, or name other columns with "
            "--on PREDICTION=LABEL"
        )


def hints_of(candidate: Candidate, predictions: Sequence[str], references: Sequence[str]) -> tuple[str, ...]:
    """Sentences on what would join rows that were not joined, and was not tried because it may be wrong."""
    alone = (set(map(candidate.to_prediction_key, predictions)), set(map(candidate.to_reference_key, references)))
    alone = (alone[0] - alone[1], alone[1] - alone[0])
    if not all(alone):
        return ()

    def would_join(change: Transform) -> int:
        one, other = ({change(key) for key in keys if key} for keys in alone)
        return len((one & other) - {""})

    def digits(key: str) -> str:
        return stem(key) if stem(key).isdigit() else ""

    by_stem = would_join(lambda key: stem(key).casefold()) - would_join(stem)
    cases = max(would_join(str.casefold), by_stem)
    zeros = would_join(lambda key: digits(key).lstrip("0")) - would_join(digits)
    hints = []
    if cases:
        hints.append(f"{counted(cases, 'more identifier')} would match if upper and lower case were the same")
    if zeros:
        hints.append(
            f"{counted(zeros, 'more identifier')} would match but for zeros in front, which spreadsheets drop; export "
            "the column as text"
        )
    return tuple(hints)


def _first(examples: tuple[str, ...] | None) -> str:
    return repr(examples[0]) if examples else "only repeated identifiers"
