"""The maps of one frame of a film, and the file that keeps them."""

from __future__ import annotations

import io
import math
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from cxrzero.display.counts import counted
from cxrzero.display.oneline import end_of
from cxrzero.errors import ConfigError, NoInputError
from cxrzero.files import write_whole
from cxrzero.heatmap.heights import above_half, peak_of
from cxrzero.images.radiograph import GreyImage, upright
from cxrzero.maths import Float32s

# Pixels of a map's longer side: what this package writes, and the most that it reads.
MAP_SIDE = 256
MAX_SIDE = 1024
# What a file may claim. A label is a few words, a frame has at most 65,535 rows (DICOM).
MAX_LABELS = 4096
MAX_TEXT = 4096
MAX_FRAME_SIDE = 1 << 20


class Region(NamedTuple):
    """A rectangle of a stored frame, in its pixels; right and lower are the first column and row behind it.

    For example:

        >>> region = Region(10, 20, 110, 220)
        >>> region.right - region.left, region.lower - region.upper
        (100, 200)
    """

    left: int
    upper: int
    right: int
    lower: int


@dataclass(frozen=True, slots=True, eq=False)
class FilmMaps:
    """Where one frame shows what was asked: a map for each of L labels.

        >>> maps = screener.heatmap("films/effusion_left.png", ["pleural effusion"], method="patch")
        >>> maps.labels, maps.maps.shape, maps.maps.dtype.name
        (('pleural effusion',), (1, 256, 256), 'float32')
        >>> column, row = maps.peak(0)
        >>> column > maps.columns / 2 < row  # the patient's left is on the right: below, in the film's right half
        True

    Attributes:
        path: of the film, as tables have it (a pseudonym under --pseudonymise).
        frame: 1-based.
        labels: the L that were asked.
        maps: (L, h, w) float32, on the whole stored frame as it is stored, before any turning or squeezing: element
            (i, j) is the mean over its part of the frame's pixels, rows i·rows/h to (i + 1)·rows/h and columns
            alike. h <= rows, w <= columns, neither above MAX_SIDE. Higher speaks more for the finding. What the model
            did not see of the film has the map's lowest value.
        probabilities: (L,) float32.
        rows, columns: of the stored frame.
        method: "patch", "attention" or "occlusion".
        fingerprint: of the model; of an ensemble those of its members, joined by "+".
        orientation: what must be done to see the stored frame upright, as EXIF numbers it; 1 is nothing.
        seen: the part of the stored frame that the model saw, see `Region`.
        film: (H, W) uint8, a small picture of the frame, upright, to draw on; None in what a file keeps.
        notes: for each label what must be known of its map, such as "location not validated".
    """

    path: str
    frame: int
    labels: tuple[str, ...]
    maps: Float32s
    probabilities: Float32s
    rows: int
    columns: int
    method: str
    fingerprint: str
    orientation: int
    seen: Region
    film: GreyImage | None = None
    notes: tuple[tuple[str, ...], ...] = ()

    def upright(self, label: int) -> Float32s:
        """One label's map as the film is seen upright.

        For example:

            >>> screener.heatmap("films/normal.png", ["edema"], method="patch").upright(0).shape
            (256, 256)
        """
        return np.ascontiguousarray(upright(self.maps[label], self.orientation))

    def peak(self, label: int) -> tuple[int, int]:
        """(column, row) of the stored frame where a map is highest; the middle of it where it is flat on top.

        For example:

            >>> maps = screener.heatmap("films/pneumothorax_left.png", ["pneumothorax"], method="patch")
            >>> x, y = maps.peak(0)
            >>> 0 <= x < maps.columns, 0 <= y < maps.rows
            (True, True)
        """
        found = self.maps[label]
        i, j = peak_of(found)
        h, w = found.shape
        return int((j + 0.5) * self.columns / w), int((i + 0.5) * self.rows / h)

    def region(self, label: int) -> tuple[Region, float]:
        """What lies above half the height of a map: the rectangle around it, and its share of the frame.

        For example:

            >>> box, share = screener.heatmap("films/cardiomegaly.png", ["cardiomegaly"], method="patch").region(0)
            >>> 0 < share <= (box.right - box.left) * (box.lower - box.upper) / 512**2
            True
        """
        found = self.maps[label]
        above = above_half(found)
        h, w = found.shape
        i, j = np.flatnonzero(above.any(axis=1)), np.flatnonzero(above.any(axis=0))
        box = Region(
            math.floor(j[0] * self.columns / w),
            math.floor(i[0] * self.rows / h),
            math.ceil((j[-1] + 1) * self.columns / w),
            math.ceil((i[-1] + 1) * self.rows / h),
        )
        return box, float(above.mean())

    def __repr__(self) -> str:
        about = f"{counted(len(self.labels), 'label')} by {self.method}, on {self.columns} × {self.rows} pixels"
        return f"<FilmMaps of {end_of(self.path)} frame {self.frame}: {about}>"

    def _repr_html_(self) -> str:
        """Each map over the film, or over grey where the film is not kept."""
        from cxrzero.heatmap.notebook import shown

        return shown(self)


def write_npz(path: Path, maps: FilmMaps) -> None:
    """Write the maps of a frame as NumPy's .npz, whole or not at all; no object is pickled.

    Raises:
        WriteError: it cannot be written.
    """
    content = io.BytesIO()
    np.savez_compressed(
        content,
        maps=np.asarray(maps.maps, np.float32),
        probabilities=np.asarray(maps.probabilities, np.float32),
        labels=np.array(maps.labels, dtype=np.str_),
        path=np.array(maps.path, dtype=np.str_),
        method=np.array(maps.method, dtype=np.str_),
        fingerprint=np.array(maps.fingerprint, dtype=np.str_),
        numbers=np.array([maps.frame, maps.rows, maps.columns, maps.orientation, *maps.seen], np.int64),
    )
    write_whole(path, content.getvalue())


def read_npz(path: Path) -> FilmMaps:
    """Read what `write_npz` wrote. What a file claims is checked before memory is taken for it.

    Raises:
        NoInputError: there is no such file.
        ConfigError: it is not one of these files, or damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return _film_maps(_members(archive))
    except FileNotFoundError:
        raise NoInputError(f"{path}: no such file") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or type(error).__name__}") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, KeyError, ValueError, NotImplementedError) as error:
        raise ConfigError(f"{path} is not a file of cxrzero heatmap --format npz, or damaged: {error}") from None


def _members(archive: zipfile.ZipFile) -> dict[str, npt.NDArray[Any]]:
    labels = _array(archive, "labels", "U", 1, MAX_LABELS)
    many = len(labels)
    return {
        "labels": labels,
        "maps": _array(archive, "maps", "f", 3, many * MAX_SIDE * MAX_SIDE),
        "probabilities": _array(archive, "probabilities", "f", 1, many),
        "path": _array(archive, "path", "U", 0, 1),
        "method": _array(archive, "method", "U", 0, 1),
        "fingerprint": _array(archive, "fingerprint", "U", 0, 1),
        "numbers": _array(archive, "numbers", "i", 1, 8),
    }


def _array(archive: zipfile.ZipFile, name: str, kind: str, ndim: int, most: int) -> npt.NDArray[Any]:
    """One member, whose header is compared with what it may be, and with what the archive has, before it is read."""
    info = archive.getinfo(f"{name}.npy")
    with archive.open(info) as member:
        version = np.lib.format.read_magic(member)
        if version != (1, 0):
            raise ValueError(f"{name} has another version of NumPy's format")
        shape, _, dtype = np.lib.format.read_array_header_1_0(member)
        size = {"f": 4, "i": 8}.get(kind)
        fits = dtype.itemsize == size if size else dtype.itemsize <= 4 * MAX_TEXT
        if dtype.kind != kind or not fits or len(shape) != ndim or math.prod(shape) > most:
            raise ValueError(f"{name} is {dtype} of shape {shape}")
        if info.file_size != member.tell() + math.prod(shape) * dtype.itemsize:
            raise ValueError(f"{name} is not as long as it says")
    with archive.open(info) as member:
        return np.asarray(np.lib.format.read_array(member, allow_pickle=False))


def _film_maps(found: Mapping[str, npt.NDArray[Any]]) -> FilmMaps:
    """Compare the members with each other."""
    maps, (frame, rows, columns, orientation, *seen) = found["maps"], map(int, found["numbers"])
    many, h, w = maps.shape
    if not (many == len(found["labels"]) == len(found["probabilities"]) and len(seen) == 4):
        raise ValueError("its arrays are not of one film")
    fits = 1 <= h <= min(rows, MAX_SIDE) and 1 <= w <= min(columns, MAX_SIDE) and max(rows, columns) <= MAX_FRAME_SIDE
    if many < 1 or not fits or not 1 <= orientation <= 8 or frame < 1:
        raise ValueError("its maps are not those of a frame")
    if not (np.isfinite(maps).all() and np.isfinite(found["probabilities"]).all()):
        raise ValueError("it holds values that are not numbers")
    return FilmMaps(
        path=str(found["path"]),
        frame=frame,
        labels=tuple(map(str, found["labels"])),
        maps=maps,
        probabilities=found["probabilities"],
        rows=rows,
        columns=columns,
        method=str(found["method"]),
        fingerprint=str(found["fingerprint"]),
        orientation=orientation,
        seen=Region(*seen),
    )
