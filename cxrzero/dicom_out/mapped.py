"""The folder that `cxrzero heatmap` made → objects of its maps, or of its pictures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydicom.dataset import Dataset

from cxrzero.choices import MapObject
from cxrzero.dicom_out.codes import Codes
from cxrzero.dicom_out.films import DIFFERS, NOT_DICOM, Made, opened_film
from cxrzero.dicom_out.maps import Mapped
from cxrzero.dicom_out.options import DicomSrOptions
from cxrzero.dicom_out.parametric_map import parametric_map
from cxrzero.dicom_out.secondary_capture import secondary_capture
from cxrzero.dicom_out.write import write_report
from cxrzero.errors import ConfigError, CxrzeroError, NoInputError, OutputExistsError
from cxrzero.heatmap.arrays import FilmMaps, read_npz
from cxrzero.heatmap.folder import OWN_NAME, TABLE
from cxrzero.sources.reader import Reader
from cxrzero.tables.changed import NO_FRAME, OTHER_FILM
from cxrzero.tables.read import TableSource, chunks, number, open_table
from cxrzero.tables.record import RunRecord

COLUMNS = ("path", "frame", "sop_instance_uid", "label", "p", "location", "method", "picture", "arrays", "status",
           "error", "fingerprint")  # fmt: skip
# Which column names the file of which object, and how it is made.
FILES: Mapping[MapObject, tuple[str, str]] = {
    "parametric-map": ("arrays", "npz"), "secondary-capture": ("picture", "png"),
}  # fmt: skip
MAX_SIDE = 4096  # of a picture: those of `heatmap` are below 1000

OTHER_MODEL = "its map was made by another model than the table"
LOCATIONS = frozenset({"validated", "not validated", "never measured"})


class NoMapError(CxrzeroError):
    """A row of heatmaps.csv of which no object can be made."""


def open_heatmaps(folder: Path) -> TableSource:
    """Open the table of a folder that `cxrzero heatmap` made.

    Raises:
        NoInputError: there is none.
        ConfigError: it lacks a column.
    """
    path = folder / TABLE
    if not path.is_file():
        raise NoInputError(f"{folder} has no {TABLE}; name the folder that cxrzero heatmap made")
    table = open_table(path)
    if missing := [name for name in COLUMNS if name not in table.columns]:
        raise ConfigError(f"{path} has no column {missing[0]!r}; make the maps again with this cxrzero")
    return table


def make_maps(
    options: DicomSrOptions, maps: TableSource, reader: Reader, record: RunRecord, codes: Codes, made: Made
) -> None:
    """Write an object of each map, and count those of which there is none.

    Raises:
        ConfigError: a row is ragged.
        OutputError: an object cannot be written.
    """
    objects = _Objects(options.maps_as, maps.path.parent, options.images, reader, record, codes)
    for cells in _rows(maps):
        try:
            write_report(objects.of(cells), options.out, overwrite=options.overwrite)
            made.maps += 1
        except OutputExistsError:
            made.blame(cells["path"], DIFFERS)
        except NoMapError as error:
            made.blame(cells["path"], str(error))


def _rows(maps: TableSource) -> Iterator[dict[str, str]]:
    """The rows of heatmaps.csv, those without maps too."""
    for _, count, cells_of in chunks(maps, COLUMNS):
        columns = {name: cells_of(name) for name in COLUMNS}
        for at in range(count):
            yield {name: cells[at] if name == "path" else cells[at].strip() for name, cells in columns.items()}


class _Objects:
    """Makes the object of a row; keeps the last film's maps, which many rows share."""

    def __init__(
        self, kind: MapObject, folder: Path, images: Path, reader: Reader, record: RunRecord, codes: Codes
    ) -> None:
        self._kind, self._folder, self._images, self._reader = kind, folder, images, reader
        self._record, self._codes = record, codes
        self._fingerprint = "+".join(fingerprint for _, fingerprint in record.models)
        self._last: tuple[str, FilmMaps] | None = None

    def of(self, cells: Mapping[str, str]) -> Dataset:
        """Make it.

        Raises:
            NoMapError: it cannot be made.
        """
        if cells["status"] != "ok":
            raise NoMapError(f"it has no map ({cells['error'].partition(':')[0] or cells['status']})")
        if cells["fingerprint"] != self._fingerprint:
            raise NoMapError(OTHER_MODEL)
        mapped = self._mapped(cells)
        column, made_with = FILES[self._kind]
        if not OWN_NAME.fullmatch(cells[column]):
            raise NoMapError(f"there is no file of it for --as {self._kind}; make it with heatmap --format {made_with}")
        path = self._folder / cells[column]
        if self._kind == "secondary-capture":
            return secondary_capture(mapped, _picture(path), self._record)
        maps = self._maps(path)
        if mapped.label not in maps.labels or maps.frame != mapped.frame:
            raise NoMapError("its file of maps has none of this finding and frame")
        found = maps.maps[maps.labels.index(mapped.label)]
        return parametric_map(mapped, found, maps.rows, maps.columns, self._record, self._codes)

    def _mapped(self, cells: Mapping[str, str]) -> Mapped:
        if not cells["sop_instance_uid"]:
            raise NoMapError(NOT_DICOM)
        source = opened_film(cells["path"], self._images, self._reader)
        if isinstance(source, str):
            raise NoMapError(source)
        if source.sop_instance != cells["sop_instance_uid"]:
            raise NoMapError(OTHER_FILM)
        frame, probability = _numbers(cells)
        if frame > source.n_frames:
            raise NoMapError(NO_FRAME)
        location = cells["location"] if cells["location"] in LOCATIONS else "never measured"
        return Mapped(source, frame, cells["label"], probability, location, cells["method"])

    def _maps(self, path: Path) -> FilmMaps:
        if self._last is None or self._last[0] != path.name:
            try:
                self._last = path.name, read_npz(path)
            except (NoInputError, ConfigError) as error:
                raise NoMapError("its file of maps is not there, or damaged") from error
        return self._last[1]


def _numbers(cells: Mapping[str, str]) -> tuple[int, float]:
    """Frame and probability of a row."""
    try:
        return int(number(cells["frame"])), number(cells["p"])
    except ValueError as error:
        raise NoMapError("its row has no frame, or no probability") from error


def _picture(path: Path) -> npt.NDArray[np.uint8]:
    """(H, W, 3) of an overlay."""
    try:
        with Image.open(path, formats=("PNG",)) as picture:
            if max(picture.size) > MAX_SIDE:
                raise NoMapError(f"its picture has more than {MAX_SIDE} pixels a side, so heatmap did not draw it")
            return np.asarray(picture.convert("RGB"))
    except (OSError, SyntaxError, ValueError) as error:
        raise NoMapError(f"its picture cannot be read ({type(error).__name__})") from error
