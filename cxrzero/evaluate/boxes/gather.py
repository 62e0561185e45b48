"""Maps and boxes of the same films: what each map has of the boxes of its finding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from cxrzero.errors import ConfigError, ImageError
from cxrzero.evaluate.boxes.maps import MapSource
from cxrzero.evaluate.boxes.seen import Training, seen_films
from cxrzero.evaluate.boxes.table import BoxTable
from cxrzero.evaluate.join import Join, JoinReport, join_rows
from cxrzero.evaluate.match import LabelMatch, match_labels
from cxrzero.heatmap.arrays import FilmMaps
from cxrzero.maths import Floats
from cxrzero.stats.regions import inside, ious_above
from cxrzero.tables.labels import LabelRules

# A box may reach this far out of its film, in the film's pixels, before that is said.
SLACK = 1.0
# With a larger share of boxes outside their films, the boxes are in the pixels of something else.
MOST_OUTSIDE = 0.1


@dataclass(frozen=True, slots=True)
class BoxRules:
    """How boxes are read.

    Attributes:
        mapping: map's label → names in the table.
        on: (path, column of the table) to join by; None tries those that are known.
        box_size: (width, height) of the films that the boxes were drawn on; None is the films' own.
        seen: the films that were trained on, see `cxrzero.evaluate.boxes.seen.seen_films`.
        is_unseen: whether the user says that there are none.
    """

    mapping: dict[str, tuple[str, ...]] = field(default_factory=dict)
    on: tuple[str, str] | None = None
    box_size: tuple[int, int] | None = None
    seen: str | None = None
    is_unseen: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Placed:
    """One map beside its finding's boxes.

    Attributes:
        unit: the patient, else the film.
        region: (k, 4) the boxes as fractions of the frame, cut off at its edges.
        is_hit: whether the map's peak, the centre of that pixel, is in the region.
        ious: (K,) at each of `cxrzero.stats.regions.CUTOFFS`.
    """

    path: str
    unit: str
    training: Training
    region: Floats
    is_hit: bool
    ious: Floats


@dataclass(slots=True)
class Counts:
    """Of boxes of findings that were mapped, on films that were found.

    Attributes:
        boxes: rows that were looked at.
        repeated: of them, those that say again what another one says.
        outside: those that reach out of their film; `gone` lie outside it wholly and are left out.
        unmapped: those on films whose maps lack the finding; of_frames: on films of several frames, without a frame;
            unread: on films that cannot be read.
        first_outside, first_unread: such a film, in words.
    """

    boxes: int = 0
    repeated: int = 0
    outside: int = 0
    gone: int = 0
    unmapped: int = 0
    of_frames: int = 0
    unread: int = 0
    first_outside: str = ""
    first_unread: str = ""


@dataclass(frozen=True, slots=True)
class Gathered:
    """All of them.

    Attributes:
        placed: label → one for each of its films.
        unit: "patient" or "film".
        not_asked: finding of the table that was not mapped → its boxes.
    """

    placed: dict[str, list[Placed]]
    table: BoxTable
    match: LabelMatch
    join: JoinReport
    unit: str
    method: str
    fingerprint: str
    counts: Counts
    not_asked: dict[str, int]


def gather(source: MapSource, table: BoxTable, rules: BoxRules) -> Gathered:
    """Join maps with boxes, and look at each map once.

    Raises:
        ConfigError: no film has boxes, the boxes lie outside their films, or the columns say two things of a film.
        LabelError: no finding of the table was mapped.
    """
    findings = list(dict.fromkeys(table.findings))
    match = match_labels(source.labels, findings, LabelRules(rules.mapping))
    label_of = {name: label for label, names in match.names.items() for name in names}
    join = _joined(source, table, rules)
    paths = _paths(join, source)
    seen = seen_films(rules.seen, table, join.references.tolist(), paths)
    units = _units(table, join, paths)
    training: list[Training] = ["not seen"] * len(paths) if rules.is_unseen else _training(seen, units)
    placed: dict[str, list[Placed]] = {label: [] for label in match.names}
    counts = Counts()
    first: FilmMaps | None = None
    for film, path in enumerate(paths):
        rows = [row for row in join.label_rows[join.label_target == film].tolist() if table.findings[row] in label_of]
        try:
            frames = list(source.of(path)) if rows else []
        except ImageError as error:
            counts.unread += len(rows)
            counts.first_unread = counts.first_unread or f"{path}: {error}"
            continue
        if len(frames) > 1:
            rows, lost = _with_frame(rows, table)
            counts.of_frames += lost
        for maps in frames:
            first = first or maps
            of_frame = rows if len(frames) == 1 else [row for row in rows if _frame(table, row) == str(maps.frame)]
            for label, region in _regions(maps, of_frame, label_of, table, rules, counts):
                placed[label].append(_place(maps, label, region, units[film], training[film]))
    placed = {label: films for label, films in placed.items() if films}
    _check_inside(counts, table, rules)
    if first is None or not placed:
        raise ConfigError(f"{table.path}: no film that has a map has a box of {', '.join(match.names)}")
    not_asked = {name: table.findings.count(name) for name in match.only_reference}
    unit = "film" if table.patients is None else "patient"
    return Gathered(placed, table, match, join.report, unit, first.method, first.fingerprint, counts, not_asked)


def _joined(source: MapSource, table: BoxTable, rules: BoxRules) -> Join:
    try:
        return join_rows({"path": source.paths}, table.identifiers, rules.on, "image")
    except ConfigError as error:
        raise ConfigError(f"maps and boxes ({table.path}): {error}") from None


def _paths(join: Join, source: MapSource) -> list[str]:
    """The film of each joined one."""
    place = dict(zip(join.target.tolist(), join.predictions.tolist(), strict=True))
    return [source.paths[place[film]] for film in range(len(join.references))]


def _units(table: BoxTable, join: Join, paths: Sequence[str]) -> list[str]:
    """What is independent of each other: patients; a film whose patient is not named stands for itself."""
    if table.patients is None:
        return list(paths)
    named: list[str] = []
    for film, path in enumerate(paths):
        rows = join.label_rows[join.label_target == film].tolist()
        patients = {table.patients[row] for row in rows} - {""}
        if len(patients) > 1:
            raise ConfigError(f"{table.path}: {path} is of several patients by column {table.patient_column!r}")
        named.append(patients.pop() if patients else path)
    return named


def _training(seen: Sequence[bool] | np.ndarray | None, units: Sequence[str]) -> list[Training]:
    """Of each film. One film of a patient that was trained on makes all of that patient's films seen."""
    if seen is None:
        return ["unknown"] * len(units)
    known = {unit for unit, is_seen in zip(units, seen, strict=True) if is_seen}
    return ["seen" if unit in known else "not seen" for unit in units]


def _with_frame(rows: Sequence[int], table: BoxTable) -> tuple[list[int], int]:
    """Those that say which frame they are on, and how many do not."""
    kept = [row for row in rows if _frame(table, row)]
    return kept, len(rows) - len(kept)


def _frame(table: BoxTable, row: int) -> str:
    return table.frames[row].removesuffix(".0") if table.frames is not None else ""


def _regions(
    maps: FilmMaps, rows: Sequence[int], label_of: dict[str, str], table: BoxTable, rules: BoxRules, counts: Counts
) -> Iterator[tuple[str, Floats]]:
    """(label, region) of one frame, for the findings that its boxes are of; what is left out is counted."""
    counts.boxes += len(rows)
    labels = [label_of[table.findings[row]] for row in rows]
    width, height = rules.box_size or (maps.columns, maps.rows)
    for label in dict.fromkeys(labels):
        every = table.boxes[[row for row, each in zip(rows, labels, strict=True) if each == label]]
        if label not in maps.labels:
            counts.unmapped += len(every)
            continue
        boxes = np.unique(every, axis=0) / (width, height, width, height)
        counts.repeated += len(every) - len(boxes)
        slack = SLACK / np.array([maps.columns, maps.rows])
        outside = ((boxes[:, :2] < -slack) | (boxes[:, 2:] > 1 + slack)).any(axis=1)
        boxes = np.clip(boxes, 0.0, 1.0)
        within = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
        counts.outside += int(outside.sum())
        counts.gone += int((~within).sum())
        if outside.any() and not counts.first_outside:
            counts.first_outside = f"{maps.path}, {maps.columns} × {maps.rows} pixels"
        if within.any():
            yield label, boxes[within]


def _place(maps: FilmMaps, label: str, region: Floats, unit: str, training: Training) -> Placed:
    place = maps.labels.index(label)
    column, row = maps.peak(place)
    x, y = np.array((column + 0.5) / maps.columns), np.array((row + 0.5) / maps.rows)
    return Placed(maps.path, unit, training, region, bool(inside(region, x, y)), ious_above(maps.maps[place], region))


def _check_inside(counts: Counts, table: BoxTable, rules: BoxRules) -> None:
    if counts.outside <= MOST_OUTSIDE * counts.boxes:
        return
    given = "--box-size is not that of the films that they were drawn on"
    own = "boxes are taken in the film's own pixels; if they were drawn on larger copies, give --box-size WIDTHxHEIGHT"
    raise ConfigError(
        f"{table.path}: {counts.outside:,} of {counts.boxes:,} boxes reach outside their films (first: "
        f"{counts.first_outside}): {given if rules.box_size else own}"
    )
