"""Rows of a table → films whose files still are what the table says, and what is said of the others."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

from cxrzero.dicom_out.source import Source, SourceFilm, read_source
from cxrzero.errors import ImageError, exit_code
from cxrzero.places.kind import kind_of_place
from cxrzero.places.members import file_of
from cxrzero.prediction import Prediction
from cxrzero.sources.reader import Reader
from cxrzero.tables.changed import NO_FRAME, OTHER_FILM, not_there
from cxrzero.tables.paths import film_of_cell

NOT_DICOM = "it is no DICOM file, so no object can refer to it"
OTHER_STUDY = "its file is of another study than the table says"
TWO_PATIENTS = "its study has films of two patients (Patient ID), and a report is of one"
TWO_FILMS = "another row of this SOP Instance UID has other numbers"
DIFFERS = "an object of the same UID is there already and differs; give --overwrite to replace it"
NO_NUMBERS = "the row has no number"


@dataclass(slots=True)
class Made:
    """What was made.

    Attributes:
        reports, films: reports, and the images or frames that they are of.
        maps: objects made of heatmaps.
        faults: why rows have no report → how many.
        skipped: rows that the run did not score on purpose.
        copies: rows of an image or frame that is in its report already, with the same numbers.
        examples: why → path cell of the first such row.
        notes: what there is to say before all else.
    """

    reports: int = 0
    films: int = 0
    maps: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    skipped: int = 0
    copies: int = 0
    examples: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def blame(self, path: str, fault: str) -> None:
        """Count a row without an object."""
        self.faults[fault] += 1
        self.examples.setdefault(fault, path)

    @property
    def exit_code(self) -> int:
        return exit_code(self.reports + self.maps, self.faults.total())


def films_of(rows: Sequence[Prediction], images: Path, reader: Reader, made: Made) -> list[SourceFilm]:
    """The rows of one study whose files are still what the table says; of the others it is counted why not."""
    films: dict[tuple[str, int | None], SourceFilm] = {}
    found: dict[str, Source | str] = {}
    for row in rows:
        if row.status == "skipped":
            made.skipped += 1
            continue
        if row.status != "ok":
            made.blame(row.path, f"the run could not read it ({row.code or row.status})")
            continue
        if not row.facts.sop_instance_uid:
            made.blame(row.path, NOT_DICOM)
            continue
        if row.path not in found:
            found[row.path] = opened_film(row.path, images, reader)
        source = found[row.path]
        if isinstance(source, str):
            made.blame(row.path, source)
            continue
        film = SourceFilm(row, source)
        before = films.get((source.sop_instance, film.frame))
        if fault := _fault(film, next(iter(films.values()), film), before):
            made.blame(row.path, fault)
        elif before is not None:
            made.copies += 1
        else:
            films[source.sop_instance, film.frame] = film
    return list(films.values())


def opened_film(cell: str, images: Path, reader: Reader) -> Source | str:
    """The header of the film of a path cell, or why there is none."""
    path = film_of_cell(cell, images)
    place = path.as_posix()
    if not os.path.isfile(file_of(place)):
        return not_there(cell)
    try:
        return read_source(BytesIO(reader.content(place)) if kind_of_place(place) == "member" else path)
    except ImageError as error:
        return str(error)


def _fault(film: SourceFilm, first: SourceFilm, before: SourceFilm | None) -> str:
    """Why a row has no place in the report of its study, "" where it has one."""
    row, source = film.row, film.source
    if source.sop_instance != row.facts.sop_instance_uid:
        return OTHER_FILM
    if source.study != row.facts.study_instance_uid:
        return OTHER_STUDY
    if (row.frame or 1) > source.n_frames:
        return NO_FRAME
    if not row.scores:
        return NO_NUMBERS
    if source.patient != first.source.patient:
        return TWO_PATIENTS
    if before is not None and _numbers(before.row) != _numbers(row):
        return TWO_FILMS
    return ""


def _numbers(row: Prediction) -> tuple[Mapping[str, object], ...]:
    return row.scores, row.calibrated, row.decision, row.sd
