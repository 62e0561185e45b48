"""What columns of other people's tables are called: names compared without case and punctuation."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

# Column names by meaning, as `fold` gives them; of several that may name the image, the first here is taken.
# fmt: off
PATH_NAMES = (
    "image", "path", "imagepath", "imageindex", "images", "imageid", "imagename", "imagefile", "imgname", "img", "file",
    "filename", "filepath", "name", "id", "dicomid", "dicompath",
)
# fmt: on
SOP_NAMES = ("sopinstanceuid", "sopuid", "instanceuid", "imageuid", "sop")
STUDY_NAMES = ("studyinstanceuid", "studyuid", "studyid", "study", "studydir", "accession", "accessionnumber")
# What stands beside labels: in tables of predictions a frame, in a reader's verdicts (`cxrzero worklist`) these too.
FRAME_NAME, REVIEW_NAMES = "frame", ("comment", "reviewer")
PATIENT_NAMES = ("patientid", "patient", "subjectid", "subject", "patientnumber", "patientkey")


# What pandas calls the numbers of rows that it writes beside a table, if not nothing at all.
_ROW_NUMBERS = re.compile(r"(Unnamed: \d+(_level_\d+)?|__index_level_\d+__)?")


def fold(name: str) -> str:
    """A name without case, accents' encoding, spaces and punctuation: Pleural_Thickening = "pleural thickening"."""
    return re.sub(r"[\W_]+", "", unicodedata.normalize("NFKC", name).casefold())


def is_unnamed(column: str) -> bool:
    """Whether a column has no name, as the row numbers that pandas writes, so that it is neither label nor score."""
    return _ROW_NUMBERS.fullmatch(column) is not None


def find_column(columns: Sequence[str], names: Sequence[str]) -> str | None:
    """The column that has the first of the (folded) names that any has."""
    folded: dict[str, str] = {}
    for column in columns:
        folded.setdefault(fold(column), column)
    return next((folded[name] for name in names if name in folded), None)


def identifier_columns(columns: Sequence[str], on: str | None) -> list[str]:
    """The columns of a table that may identify its rows, the one named by the user first."""
    names = {*PATH_NAMES, *SOP_NAMES, *STUDY_NAMES}
    known = [name for name in columns if fold(name) in names and name != on]
    return known if on is None else [on, *known]


def some_of(names: Sequence[str], most: int = 12) -> str:
    """The first of many names, for a message."""
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown}, … ({len(names)} in all)"
