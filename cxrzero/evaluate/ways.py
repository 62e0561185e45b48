"""The ways in which two tables may be joined, strictest first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from cxrzero.evaluate.keys import Transform, folder_above, folder_tail, number, number_after_letters, stem, tail
from cxrzero.tables.names import PATH_NAMES, PATIENT_NAMES, SOP_NAMES, STUDY_NAMES, fold

Identifiers = Mapping[str, Sequence[str]]


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


def ways_to_join(
    predictions: Identifiers, references: Identifiers, on: tuple[str, str] | None, level: str
) -> Iterator[Candidate]:
    """Ways to join, strictest first."""
    if level != "study":
        yield from _by_image(predictions, references, on)
    if level != "image":
        yield from _by_study(predictions, references, on)


def _by_image(predictions: Identifiers, references: Identifiers, on: tuple[str, str] | None) -> Iterator[Candidate]:
    def pairs(prediction_names: Sequence[str], reference_names: Sequence[str]) -> list[tuple[str, str]]:
        return [on] if on else _pairs(predictions, references, prediction_names, reference_names)

    for one, other in [] if on else pairs(SOP_NAMES, SOP_NAMES):
        yield Candidate(one, other, "exact", str.strip, str.strip, "image")
    for one, other in pairs(PATH_NAMES, PATH_NAMES):
        yield Candidate(one, other, "whole path", tail(None), tail(None), "image")
        for n in (5, 4, 3, 2):
            yield Candidate(one, other, f"last {n} path components", tail(n), tail(n), "image")
        yield Candidate(one, other, "file name", tail(1), tail(1), "image")
        yield Candidate(one, other, "file name without suffix", stem, stem, "image")
    # Some archives name a file by its UID, some challenges by its patient, and some call the UID an image's name.
    by_uid = [] if on else [*pairs(PATH_NAMES, (*SOP_NAMES, *PATIENT_NAMES)), *pairs(SOP_NAMES, PATH_NAMES)]
    for one, other in by_uid:
        yield Candidate(one, other, "file name without suffix", stem, stem, "image")


def _by_study(predictions: Identifiers, references: Identifiers, on: tuple[str, str] | None) -> Iterator[Candidate]:
    def pairs(prediction_names: Sequence[str]) -> list[tuple[str, str]]:
        return [on] if on else _pairs(predictions, references, prediction_names, STUDY_NAMES)

    for one, other in pairs(STUDY_NAMES):
        yield Candidate(one, other, "exact", str.strip, str.strip, "study")
        yield from _by_number(one, other, "number", str.strip)
    for one, other in pairs(PATH_NAMES):
        yield Candidate(one, other, "folder of the image", folder_tail(None), tail(None), "study")
        for n in (4, 3, 2, 1):
            yield Candidate(one, other, f"folder, last {n} components", folder_tail(n), tail(n), "study")
        yield from _by_number(one, other, "number of the folder", folder_tail(1))
        if on:
            yield Candidate(one, other, "the folder above", folder_above, tail(1), "study")
            yield from _by_number(one, other, "number of the folder above", folder_above)
        yield Candidate(one, other, "file name without suffix", stem, stem, "study")
        yield from _by_number(one, other, "number of the file", stem)


def _by_number(one: str, other: str, how: str, part: Transform) -> Iterator[Candidate]:
    """A number with letters before it in one of the tables alone: a folder s50410000 is the study 50410000."""
    for name_of, number_of in ((number_after_letters, number), (number, number_after_letters)):

        def prediction_key(cell: str, name_of: Transform = name_of) -> str:
            return name_of(part(cell))

        yield Candidate(one, other, f"{how}, letters aside", prediction_key, number_of, "study")


def _pairs(
    predictions: Identifiers, references: Identifiers, prediction_names: Sequence[str], reference_names: Sequence[str]
) -> list[tuple[str, str]]:
    ones = [name for name in predictions if fold(name) in prediction_names and any(predictions[name])]
    others = [name for name in references if fold(name) in reference_names and any(references[name])]
    return [(one, other) for one in ones for other in others]
