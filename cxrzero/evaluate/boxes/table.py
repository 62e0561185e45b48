"""Tables of boxes as data sets publish them: NIH's BBox_List_2017, VinDr-CXR, RSNA, and plain ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cxrzero.errors import ConfigError
from cxrzero.maths import Bools, Floats
from cxrzero.tables.names import PATIENT_NAMES, find_column, identifier_columns, some_of
from cxrzero.tables.read import Columns, TableSource, open_table, read_table

# As `fold` gives them; NIH's heading splits "Bbox [x,y,w,h]" over four columns.
FINDING_NAMES = ("finding", "findinglabel", "label", "classname", "class", "pathology", "disease")
LEFT_NAMES, UPPER_NAMES = ("x", "bboxx", "xmin", "left", "x1"), ("y", "bboxy", "ymin", "top", "upper", "y1")
WIDTH_NAMES, HEIGHT_NAMES = ("width", "w", "bboxw"), ("height", "h", "bboxh")
RIGHT_NAMES, LOWER_NAMES = ("xmax", "right", "x2"), ("ymax", "bottom", "lower", "y2")


@dataclass(frozen=True, slots=True)
class BoxTable:
    """Boxes row by row.

    Attributes:
        identifiers: columns that may name the film.
        findings: (n,) as the table writes them.
        boxes: (n, 4) left, upper, right, lower, in the table's pixels.
        patients: (n,) None where no column names them; `patient_column` is its name.
        frames: (n,) 1-based; None where no column has them.
        columns: every other column's text that was asked for.
        n_rows: of the file; those with four blank coordinates, which state that there is no box, are left out above.
        notes: what had to be assumed to read it.
    """

    path: Path
    identifiers: dict[str, list[str]]
    findings: list[str]
    boxes: Floats
    patients: list[str] | None
    patient_column: str | None
    frames: list[str] | None
    columns: dict[str, list[str]]
    n_rows: int
    notes: tuple[str, ...]


def read_boxes(path: Path, patient: str | None = None, on: str | None = None, more: Sequence[str] = ()) -> BoxTable:
    """Read a table of boxes.

    Args:
        patient: the column that tells patients apart; None looks for one of a known name.
        on: the column that names the film; None takes those of known names.
        more: other columns to keep as text.

    Raises:
        NoInputError: the file is missing or has no rows.
        ConfigError: a column is missing, a cell is no number, or a box has no area.
    """
    source = open_table(path)
    finding = _named(source, FINDING_NAMES, "the finding", "finding")
    corner = [_named(source, LEFT_NAMES, "a box's left edge", "x"), _named(source, UPPER_NAMES, "its upper edge", "y")]
    sizes = [find_column(source.columns, names) for names in (WIDTH_NAMES, HEIGHT_NAMES)]
    ends = [find_column(source.columns, names) for names in (RIGHT_NAMES, LOWER_NAMES)]
    is_size = None not in sizes
    rest = [name for name in (sizes if is_size else ends) if name is not None]
    if len(rest) < 2:
        raise ConfigError(
            f"{path}: the table has no columns for a box's size (width and height, or x_max and y_max); its columns: "
            f"{some_of(source.columns)}"
        )
    absent = [name for name in (*((patient,) if patient else ()), *more) if name not in source.columns]
    if absent:
        raise ConfigError(f"{path}: the table has no column {absent[0]!r}; its columns: {some_of(source.columns)}")
    patient = patient or find_column(source.columns, PATIENT_NAMES)
    frame = find_column(source.columns, ("frame", "framenumber"))
    identifiers = [name for name in identifier_columns(source.columns, on) if name != finding]
    if not identifiers and patient is not None:  # challenges name a film by its patient
        identifiers = [patient]
    text = [*identifiers, finding, *more, *(name for name in (patient, frame) if name is not None)]
    table = read_table(source, text=text, numbers=[*corner, *rest])
    boxes = np.stack([table.numbers[name] for name in (*corner, *rest)], axis=1)
    kept = np.asarray(~np.isnan(boxes).all(axis=1))
    if is_size:
        boxes[:, 2:] += boxes[:, :2]
    _check(table, boxes, kept)

    def cells(name: str) -> list[str]:
        return [cell for cell, keep in zip(table.text[name], kept, strict=True) if keep]

    return BoxTable(
        path=path,
        identifiers={name: cells(name) for name in identifiers},
        findings=cells(finding),
        boxes=boxes[kept],
        patients=cells(patient) if patient is not None else None,
        patient_column=patient,
        frames=cells(frame) if frame is not None else None,
        columns={name: cells(name) for name in more},
        n_rows=table.n_rows,
        notes=source.notes,
    )


def _named(source: TableSource, names: Sequence[str], what: str, usual: str) -> str:
    column = find_column(source.columns, names)
    if column is None:
        raise ConfigError(
            f"{source.path}: the table has no column for {what} (such as {usual!r}); its columns: "
            f"{some_of(source.columns)}"
        )
    return column


def _check(table: Columns, boxes: Floats, kept: Bools) -> None:
    """Raises ConfigError where a box is not one, with its row."""
    path = table.source.path
    if not kept.any():
        raise ConfigError(f"{path}: no row has a box; all coordinates are blank")
    for wrong, what in (
        (kept & ~np.isfinite(boxes).all(axis=1), "a box with a coordinate that is blank or no finite number"),
        (kept & ~(boxes[:, 2:] > boxes[:, :2]).all(axis=1), "a box without width or height"),
    ):
        if wrong.any():
            raise ConfigError(f"{path}: data row {int(np.argmax(wrong)) + 1} has {what}; correct it or leave it out")
