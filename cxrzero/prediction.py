"""One row of the prediction table, and many."""

from __future__ import annotations

import operator
import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, SupportsIndex, overload

from cxrzero.display.counts import counted
from cxrzero.display.oneline import MOST_OF_A_PATH, end_of, line
from cxrzero.errors import MissingExtraError
from cxrzero.images.radiograph import DecodeOptions, Facts

if TYPE_CHECKING:
    import pandas

FACT_COLUMNS = tuple(Facts().as_dict())
FIXED_COLUMNS = ("path", "frame", *FACT_COLUMNS, "status", "flags", "error")
# Column → type of its cells, for formats that have types.
FIXED_TYPES: dict[str, type] = {column: int if column == "frame" else str for column in FIXED_COLUMNS}

Cell = str | int | float | None

# What a notebook shows of many rows: the first, with their pictures, and scores of the first labels.
SHOWN_ROWS, SHOWN_LABELS, PICTURE_PIXELS = 20, 8, 96


@dataclass(slots=True)  # not frozen: a million are made, and a frozen one takes three times as long
class Prediction(Mapping[str, Cell]):
    """What became of one image: also a mapping from column name to value, so `pandas.DataFrame(rows)` works.

        >>> [row] = screener.predict("films/normal_16bit.dcm", ["cardiomegaly"])
        >>> row.path, row.frame, row.status, row["modality"]
        ('films/normal_16bit.dcm', 1, 'ok', 'DX')
        >>> 0 < row.scores["cardiomegaly"] == row["cardiomegaly"] < 1
        True

    Attributes:
        path: as found under the argument given.
        frame: 1-based; None when the file could not be opened far enough to have frames.
        status: "ok" scored, "failed" could not be read, "skipped" readable but not scored.
        facts: what the header states; empty texts for other files than DICOM.
        flags: what is unusual about the picture, members of the closed vocabulary of docs/images.md.
        error: `code: message` for failed and skipped rows, else empty.
        code: the code alone.
        scores: label → probability (float32 precision); empty unless status is "ok".
        cos_pos: label → cosine of image and positive prompts, in [−1, 1]; empty as `scores`.
        cos_neg: label → cosine of image and negative prompts.
        sd: label → standard deviation between the probabilities of an ensemble's members; empty for one model.
        calibrated: label → calibrated probability; empty without a calibration.
        decision: label → 1 where the probability (not the calibrated one) reaches the threshold, else 0.
            None, in both, for a label that the calibration has nothing for.
        labels: all labels asked, the table's columns in order; the pipeline gives a dict, which finds one of
            thousands at once.
    """

    path: str
    labels: Collection[str]
    status: str
    frame: int | None = None
    facts: Facts = field(default_factory=Facts)
    flags: frozenset[str] = frozenset()
    error: str = ""
    scores: Mapping[str, float] = field(default_factory=dict)
    cos_pos: Mapping[str, float] = field(default_factory=dict)
    cos_neg: Mapping[str, float] = field(default_factory=dict)
    sd: Mapping[str, float] = field(default_factory=dict)
    calibrated: Mapping[str, float | None] = field(default_factory=dict)
    decision: Mapping[str, int | None] = field(default_factory=dict)
    code: str = ""

    def __getitem__(self, column: str) -> Cell:
        if column in self.scores:
            return self.scores[column]
        if column in _CELLS:
            return _CELLS[column](self)
        if column in self.labels:
            return None
        raise KeyError(column)

    def fixed(self) -> list[Cell]:
        """The values of FIXED_COLUMNS, in their order; one call is faster than a look-up for each."""
        flags = _joined(self.flags)
        return [printable_path(self.path), self.frame, *self.facts[: len(FACT_COLUMNS)], self.status, flags, self.error]

    def __iter__(self) -> Iterator[str]:
        yield from FIXED_COLUMNS
        yield from self.labels

    def __len__(self) -> int:
        return len(FIXED_COLUMNS) + len(self.labels)

    def __repr__(self) -> str:
        frame = "" if self.frame is None else f" frame {self.frame}"
        found = ", ".join(f"{line(label, MOST_OF_A_PATH)} {score:.3f}" for label, score in self.scores.items())
        more = found or self.error
        return f"{line(f'<Prediction {end_of(self.path)}{frame}: {self.status}' + (f', {more}' if more else ''))}>"


class Predictions(list[Prediction]):
    """The rows of one question, a list that a notebook shows as a table.

        >>> rows = screener.predict("films/", ["cardiomegaly"])
        >>> rows
        <Predictions: 8 images, 1 label>
        >>> max(rows, key=lambda row: row.scores["cardiomegaly"]).path
        'films/cardiomegaly.png'

    Args:
        rows: in order.
        read_with: how a notebook reads their files again for small pictures; None where the rows are not all of files,
            and so without pictures.
    """

    def __init__(self, rows: Iterable[Prediction] = (), *, read_with: DecodeOptions | None = None) -> None:
        super().__init__(rows)
        self.read_with = read_with

    @overload
    def __getitem__(self, place: SupportsIndex) -> Prediction: ...
    @overload
    def __getitem__(self, place: slice) -> Predictions: ...
    def __getitem__(self, place: SupportsIndex | slice) -> Prediction | Predictions:
        if isinstance(place, slice):
            return Predictions(super().__getitem__(place), read_with=self.read_with)
        return super().__getitem__(place)

    @property
    def labels(self) -> tuple[str, ...]:
        """All that were asked."""
        return tuple(self[0].labels) if self else ()

    def to_pandas(self) -> pandas.DataFrame:
        """The table: the columns of `Prediction`, one row for each of these.

            >>> screener.predict("films/", ["cardiomegaly"]).to_pandas().shape
            (8, 12)

        Raises:
            MissingExtraError: pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise MissingExtraError("pandas", "pandas") from error
        return pandas.DataFrame(list(self), columns=[*FIXED_COLUMNS, *self.labels])

    def __repr__(self) -> str:
        return f"<Predictions: {self._counts()}>"

    def _repr_html_(self) -> str:
        """The first rows, where possible with small pictures, which are read again each time and not kept."""
        from cxrzero.display.notebook import table

        some, labels = self[:SHOWN_ROWS], self.labels[:SHOWN_LABELS]
        first = f", of which the first {len(some)} are here" if len(some) < len(self) else ""
        unshown = len(self.labels) - len(labels)
        more = f", and {counted(unshown, 'label')} more" if unshown else ""
        rows = ([row.path, *_picture(row, self.read_with), *_cells(row, labels)] for row in some)
        head = ["path", *([""] if self.read_with else []), "frame", "status", *labels, "flags", "error"]
        return table(head, rows, f"{self._counts()}{first}{more}")

    def _counts(self) -> str:
        found = Counter(row.status for row in self)
        bad = "".join(f", {found[status]:,} {status}" for status in ("failed", "skipped") if found[status])
        asked = f", {counted(len(self.labels), 'label')}" if self.labels else ""
        return f"{counted(len(self), 'image')}{asked}{bad}"


def _cells(row: Prediction, labels: Iterable[str]) -> list[Cell]:
    return [row.frame, row.status, *(row.scores.get(label) for label in labels), _joined(row.flags), row.error]


def _picture(row: Prediction, read_with: DecodeOptions | None) -> list[str | None]:
    """The cell of its picture, where there is such a column."""
    if read_with is None:
        return []
    from cxrzero.display.notebook import Markup
    from cxrzero.display.pictures import embedded
    from cxrzero.images.again import thumbnail_of

    if row.frame is None or row.status == "failed":
        return [None]
    picture = thumbnail_of(row.path, row.frame, PICTURE_PIXELS, read_with)
    return [Markup(embedded(picture, "")) if picture else None]


def printable_path(path: str) -> str:
    r"""A path as text: bytes that are not UTF-8 (Unix allows them in names) are written as \xNN."""
    if path.isascii():
        return path
    return path.encode("utf-8", sys.getfilesystemencodeerrors()).decode("utf-8", "backslashreplace")


@lru_cache(maxsize=1024)
def _joined(flags: frozenset[str]) -> str:
    return ";".join(sorted(flags))


_CELLS: dict[str, Callable[[Prediction], Cell]] = {
    "path": lambda row: printable_path(row.path),
    "frame": operator.attrgetter("frame"),
    **{column: operator.attrgetter(f"facts.{column}") for column in FACT_COLUMNS},
    "status": operator.attrgetter("status"),
    "flags": lambda row: _joined(row.flags),
    "error": operator.attrgetter("error"),
}
