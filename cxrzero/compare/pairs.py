"""Two prediction tables joined film by film: their scores in the same rows, and what only one of them has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cxrzero.compare.options import CompareOptions
from cxrzero.errors import ConfigError, LabelError, NoInputError
from cxrzero.evaluate.columns import STUDIES_ONLY, check_wide, prediction_labels, scores_among
from cxrzero.evaluate.join import Join, check_digits, closest_join, hints_of
from cxrzero.evaluate.load import check_range, independent_units, named_column, numbered
from cxrzero.evaluate.match import parse_mapping
from cxrzero.maths import Bools, Floats, Ints
from cxrzero.places.kind import is_file, kind_of_place
from cxrzero.report.findfilm import frame_of_cell
from cxrzero.sources import FILES_ONLY
from cxrzero.sources.refs import NO_OBJECTS
from cxrzero.tables.names import (
    FRAME_NAME,
    PATH_NAMES,
    PATIENT_NAMES,
    SOP_NAMES,
    STUDY_NAMES,
    find_column,
    fold,
    identifier_columns,
    some_of,
)
from cxrzero.tables.read import Columns, TableSource, open_table, read_table
from cxrzero.tables.record import RunRecord, read_manifest

Both = tuple[Floats, Floats]  # (n,) of each table, NaN where there is none


@dataclass(frozen=True, slots=True)
class Joined:
    """What was joined and what was not, in rows.

    Attributes:
        key: what was compared, in words.
        level: "image", or "study" for two tables of studies.
        n_a, n_b: rows of each table.
        n_pairs: films (or studies) that both have.
        n_repeated_a, n_repeated_b: identifiers that stand for several rows of a table; none of these is used.
        n_both, n_only_a, n_only_b, n_neither: of the pairs, which tables scored them.
        hints: what may be wrong with identifiers that were not joined, in sentences.
    """

    key: str
    level: str
    n_a: int
    n_b: int
    n_pairs: int
    n_repeated_a: int
    n_repeated_b: int
    n_both: int
    n_only_a: int
    n_only_b: int
    n_neither: int
    hints: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Pairs:
    """n films that both tables have, in the order of A.

    Attributes:
        names: label of A → its name in B, of those compared.
        only_a, only_b: labels that the other table has not.
        scores: label → scores.
        decisions: label → decisions (1 or 0), where both tables have them.
        units: (n,) number of the patient, study or film that a row belongs to.
        unit: in words.
        paths, frames, sops: (n,) what A says of each film.
        records: of the runs that made the tables, where there are any.
    """

    names: dict[str, str]
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]
    scores: dict[str, Both]
    decisions: dict[str, Both]
    units: Ints
    unit: str
    paths: list[str]
    frames: list[int]
    sops: list[str]
    joined: Joined
    records: tuple[RunRecord | None, RunRecord | None]
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.units)

    @property
    def is_pseudonymised(self) -> bool:
        """Whether a record says that its table has pseudonyms for paths and UIDs."""
        return any(record is not None and record.pseudonymised for record in self.records)


def read_pairs(options: CompareOptions) -> Pairs:
    """Read and join both tables.

    Raises:
        NoInputError, ConfigError, LabelError: a table cannot be read or does not fit the other.
    """
    sources = _opened(options.a), _opened(options.b)
    if Path(options.a).samefile(options.b):
        raise ConfigError(f"{options.a} is given twice; a table agrees with itself")
    are_studies = [STUDIES_ONLY in source.columns for source in sources]
    if are_studies[0] != are_studies[1]:
        studies, films = (options.a, options.b) if are_studies[0] else (options.b, options.a)
        raise ConfigError(
            f"{studies} is a table of studies and {films} is not; compare two of a kind (cxrzero table --by study "
            "makes a table of studies of one of films)"
        )
    a_labels, b_labels = (_labels(source, options) for source in sources)
    names = _shared_labels(a_labels, b_labels, options)
    records = _record(Path(options.a)), _record(Path(options.b))
    on_a, on_b = _on(options.on)
    patient = next((n for n in (named_column(s, options.patient, PATIENT_NAMES) for s in sources) if n), None)
    if options.patient is not None and patient is None:
        raise ConfigError(f"neither {options.a} nor {options.b} has a column {options.patient!r} for --patient")
    a = _read(sources[0], list(names), on_a, patient)
    b = _read(sources[1], list(names.values()), on_b, patient)
    level = "study" if all(are_studies) else _level(sources)
    join, hints = _join(a, b, (on_a, on_b), level, options, records)
    rows_a, rows_b, targets, n_repeated = _frame_by_frame(join, a, b)

    def text(column: str) -> list[str]:
        table, rows = (a, rows_a) if column in a.text else (b, rows_b)
        return [table.text[column][row] for row in rows]

    keys = [str(target) for target in targets.tolist()]
    unit, unit_column, unit_keys = independent_units(a, b, patient, join.report.level, keys, text)
    scored = _scored(a, list(names), options), _scored(b, list(names.values()), options)
    scores = {label: (scored[0][label][rows_a], scored[1][name][rows_b]) for label, name in names.items()}
    path, sop = (find_column(sources[0].columns, kind) for kind in (PATH_NAMES, SOP_NAMES))
    blank = [""] * len(rows_a)
    return Pairs(
        names=names,
        only_a=tuple(label for label in a_labels if label not in names),
        only_b=tuple(label for label in b_labels if label not in names.values()),
        scores=scores,
        decisions=_decisions(a, b, names, rows_a, rows_b),
        units=numbered(unit_keys),
        unit=unit if unit_column is None else f"{unit} ({unit_column})",
        paths=text(path) if path else text(identifier_columns(sources[0].columns, on_a)[0]),
        frames=[frame_of_cell(cell) for cell in (text(FRAME_NAME) if FRAME_NAME in a.text else blank)],
        sops=text(sop) if sop else blank,
        joined=_counted(join, a, b, scores, n_repeated, hints),
        records=records,
        notes=tuple(f"{source.path.name}: {note}" for source in sources for note in source.notes),
    )


def _opened(name: str) -> TableSource:
    if not is_file(name):
        raise NoInputError(FILES_ONLY if kind_of_place(name) == "archive" else NO_OBJECTS)
    path = Path(name)
    if path.is_dir():
        raise ConfigError(f"{path} is a folder; predict first and give the prediction table")
    source = open_table(path)
    check_wide(source)
    return source


def _labels(source: TableSource, options: CompareOptions) -> tuple[str, ...]:
    """Columns of predictions; what tells rows or patients apart is none, even in a table that `predict` wrote."""
    apart = {options.patient, *_on(options.on)}
    names = [name for name in prediction_labels(source) if name not in apart and fold(name) not in PATIENT_NAMES]
    return scores_among(source, names, any_score=options.any_score)


def _record(path: Path) -> RunRecord | None:
    manifest = read_manifest(path)
    return None if manifest is None else RunRecord.of(manifest)


def _shared_labels(a: Sequence[str], b: Sequence[str], options: CompareOptions) -> dict[str, str]:
    """Label of A → its name in B: as --map says, else by the same name. A synonym is another question to a model."""
    names: dict[str, str] = {}
    for label, others in parse_mapping(options.mapping).items():
        if label not in a or len(others) > 1 or others[0] not in b:
            raise LabelError(
                f"--map {label}={'|'.join(others)}: {options.a} has the labels {some_of(a)}, and {options.b} has "
                f"{some_of(b)}"
            )
        names[label] = others[0]
    by_name = {fold(name): name for name in reversed(b) if name not in names.values()}
    names |= {label: by_name[fold(label)] for label in a if label not in names and fold(label) in by_name}
    if not names:
        raise LabelError(
            f"{options.a} and {options.b} have no label in common: {some_of(a) or 'none'}, and {some_of(b) or 'none'}; "
            "name pairs with --map X=Y"
        )
    return {label: names[label] for label in a if label in names}


def _on(text: str | None) -> tuple[str | None, str | None]:
    if text is None:
        return None, None
    one, _, other = text.partition("=")
    return one.strip(), (other or one).strip()


def _level(sources: Sequence[TableSource]) -> str:
    """Films are compared with films: where both tables name them, never the films of a study with others of it."""
    has_films = (find_column(source.columns, (*PATH_NAMES, *SOP_NAMES)) for source in sources)
    return "image" if all(has_films) else "auto"


def _read(source: TableSource, labels: Sequence[str], on: str | None, patient: str | None) -> Columns:
    text = [*identifier_columns(source.columns, on), *([patient] if patient in source.columns and patient else [])]
    few = [name for name in text if fold(name) in STUDY_NAMES and name != on]
    few += [name for name in ("status", FRAME_NAME) if name in source.columns and name not in text]
    decisions = [f"{label}_decision" for label in labels if f"{label}_decision" in source.columns]
    return read_table(
        source, text=[name for name in text if name not in few], categories=few, numbers=[*labels, *decisions]
    )


def _join(
    a: Columns,
    b: Columns,
    on: tuple[str | None, str | None],
    level: str,
    options: CompareOptions,
    records: tuple[RunRecord | None, RunRecord | None],
) -> tuple[Join, tuple[str, ...]]:
    """B's rows to those of A, and what may be wrong with those that were not joined."""
    of_a, of_b = (
        {name: table.text[name] for name in identifier_columns(table.source.columns, side)}
        for table, side in ((a, on[0]), (b, on[1]))
    )
    pair = (on[1], on[0]) if on[0] and on[1] else None
    found = closest_join(of_b, of_a, pair, level, b.text.get(FRAME_NAME))
    if found is None:
        raise ConfigError(
            f"{options.a} and {options.b} have no identifier in common (path, file name, study or SOP instance UID "
            "were looked for); name the columns with --on X=Y"
        )
    join, way = found
    cells = of_b[way.prediction_column], of_a[way.reference_column]
    check_digits({f"rows of {options.a}": cells[1], f"rows of {options.b}": cells[0]})
    hints = hints_of(way, *cells)
    if not join.report.n_matched:
        hidden = [record is not None and record.pseudonymised for record in records]
        if any(hidden):
            hints = (
                "both have pseudonyms, which agree only if they were made with the same key"
                if all(hidden)
                else "one has pseudonyms and the other has not",
            )
        raise ConfigError(
            f"no film of {options.a} is in {options.b} by {join.report.key}; give two tables of the same films, or "
            f"name other columns with --on X=Y{''.join(f'. {hint}' for hint in hints)}"
        )
    return join, hints


def _frame_by_frame(join: Join, a: Columns, b: Columns) -> tuple[Ints, Ints, Ints, tuple[int, int]]:
    """Rows of A and of B that are the same frame of the same film, its number, and how many frames are there twice.

    Rows are in the order of A.
    """
    keys: list[tuple[Ints, Ints]] = []
    frames: dict[int, int] = {}
    for table, rows, target in ((a, join.label_rows, join.label_target), (b, join.predictions, join.target)):
        stated = table.text.get(FRAME_NAME) if join.report.level == "image" else None
        number = np.array([frame_of_cell(stated[row]) if stated else 1 for row in rows.tolist()], np.int64)
        places = np.array([frames.setdefault(each, len(frames)) for each in number.tolist()], np.int64)
        keys.append((target, places))
    width = max(1, len(frames))
    ours, theirs = (target * width + places for target, places in keys)
    single, repeated = [], []
    for each in (ours, theirs):
        values, counts = np.unique(each, return_counts=True)
        single.append(values[counts == 1])
        repeated.append(int((counts > 1).sum()))
    common = np.intersect1d(*single)
    at_a, at_b = (np.argsort(each)[np.searchsorted(np.sort(each), common)] for each in (ours, theirs))
    rows_a, rows_b = join.label_rows[at_a], join.predictions[at_b]
    order = np.argsort(rows_a)
    return rows_a[order], rows_b[order], (common // width)[order], (repeated[0], repeated[1])


def _scored(table: Columns, labels: Sequence[str], options: CompareOptions) -> dict[str, Floats]:
    """(N,) scores of each label; NaN where the row failed, was skipped, or has a blank cell."""
    ok = _ok(table)
    check_range(table, labels, ok, any_score=options.any_score)
    return {label: np.where(ok, table.numbers[label], np.nan) for label in labels}


def _ok(table: Columns) -> Bools:
    status = table.text.get("status")
    return np.ones(table.n_rows, bool) if status is None else np.array([each == "ok" for each in status])


def _decisions(a: Columns, b: Columns, names: dict[str, str], rows_a: Ints, rows_b: Ints) -> dict[str, Both]:
    columns = {label: (f"{label}_decision", f"{name}_decision") for label, name in names.items()}
    ok = _ok(a)[rows_a], _ok(b)[rows_b]
    return {
        label: (np.where(ok[0], a.numbers[one][rows_a], np.nan), np.where(ok[1], b.numbers[other][rows_b], np.nan))
        for label, (one, other) in columns.items()
        if one in a.numbers and other in b.numbers
    }


def _counted(
    join: Join, a: Columns, b: Columns, scores: dict[str, Both], n_repeated: tuple[int, int], hints: tuple[str, ...]
) -> Joined:
    ours, theirs = (np.any([~np.isnan(pair[side]) for pair in scores.values()], axis=0) for side in (0, 1))
    return Joined(
        key=join.report.key,
        level=join.report.level,
        n_a=a.n_rows,
        n_b=b.n_rows,
        n_pairs=len(ours),
        n_repeated_a=join.report.n_duplicate_references + n_repeated[0],
        n_repeated_b=join.report.n_duplicate_predictions + n_repeated[1],
        n_both=int((ours & theirs).sum()),
        n_only_a=int((ours & ~theirs).sum()),
        n_only_b=int((~ours & theirs).sum()),
        n_neither=int((~ours & ~theirs).sum()),
        hints=hints,
    )
