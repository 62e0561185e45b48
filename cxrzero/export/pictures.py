"""What another program can show of each film: the file itself where a browser reads it, else a PNG that is drawn."""

from __future__ import annotations

import io
import itertools
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from PIL import Image

from cxrzero.errors import CxrzeroError, ImageError
from cxrzero.export.table import Film
from cxrzero.files import write_whole
from cxrzero.images.radiograph import DecodeOptions, GreyImage
from cxrzero.pipeline.decode_file import unforeseen
from cxrzero.places.kind import is_file, kind_of_place, scheme_of, shown
from cxrzero.places.members import file_of
from cxrzero.sources.reader import Reader
from cxrzero.tables.changed import NO_FRAME, OTHER_FILM, not_there
from cxrzero.tables.paths import film_of_cell

# Of files that every browser shows.
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp"})
# Of stores whose addresses Label Studio takes.
STORES = frozenset({"http", "https", "s3", "gs", "azure-blob"})

NO_PICTURE = "not named as a PNG, JPEG or BMP file; give --png to have such films drawn"
ONE_FRAME = "one frame of a file with several; give --png to have such films drawn"
TWICE = "an earlier row has the same picture"


@dataclass(slots=True)
class LeftOut:
    """Scored films that are not shown.

    Attributes:
        reasons: why → how many.
        examples: why → path cell of the first such film.
    """

    reasons: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)

    def add(self, film: Film, why: str) -> None:
        self.reasons[why] += 1
        self.examples.setdefault(why, film.path)


@dataclass(frozen=True, slots=True)
class Shown:
    """A film with its picture: a path of this machine, or where `is_address` an address."""

    film: Film
    path: str
    is_address: bool = False


def own_files(films: Iterable[Film], images: Path, *, addresses: bool, left_out: LeftOut) -> Iterator[Shown]:
    """Films whose own file, or with `addresses` whose object in a store, is a picture for browsers, each once.

    No file is opened: its name decides. Relative paths start from `images`.
    """
    seen: set[str] = set()
    for film in films:
        is_local = is_file(film.path)
        is_address = addresses and kind_of_place(film.path) == "object" and scheme_of(film.path) in STORES
        path = film_of_cell(film.path, images).as_posix() if is_local else film.path
        if PurePosixPath(shown(path)).suffix.lower() not in SUFFIXES or not (is_local or is_address):
            left_out.add(film, NO_PICTURE)
        elif film.frame not in (None, 1):
            left_out.add(film, ONE_FRAME)
        elif path in seen:
            left_out.add(film, TWICE)
        else:
            seen.add(path)
            yield Shown(film, path, is_address)


def drawn(
    films: Iterable[Film], images: Path, options: DecodeOptions, folder: Path, left_out: LeftOut
) -> Iterator[Shown]:
    """Films that can be decoded, each with its PNG in `folder`, which is called by the number of its row.

    Raises:
        WriteError: a picture cannot be written.
    """
    reader, options = Reader(), replace(options, fast_side=None)
    for path, of_file in itertools.groupby(films, key=lambda film: film.path):
        yield from _drawn_of_file(path, list(of_file), reader, images, options, folder, left_out)


def _drawn_of_file(
    path: str,
    films: Sequence[Film],
    reader: Reader,
    images: Path,
    options: DecodeOptions,
    folder: Path,
    left_out: LeftOut,
) -> Iterator[Shown]:
    """Films that are frames of one file."""
    wanted = {film.frame or 1: film for film in films}
    for film in films:
        if wanted[film.frame or 1] is not film:
            left_out.add(film, TWICE)
    file, fault = film_of_cell(path, images).as_posix(), NO_FRAME
    try:
        if not os.path.isfile(file_of(file)):
            raise ImageError("gone", not_there(path))
        for radiograph in reader.decode(file, options):
            if radiograph.frame not in wanted:
                continue
            film = wanted.pop(radiograph.frame)
            if film.sop and film.sop != radiograph.facts.sop_instance_uid:
                left_out.add(film, OTHER_FILM)
                continue
            yield Shown(film, _written(folder / f"{film.row:06d}.png", radiograph.pixels))
            if not wanted:
                return
    except ImageError as error:
        fault = error.message
    except CxrzeroError:
        raise
    except Exception as error:  # as `cxrzero.pipeline.decode_file`: one strange file must not end the work
        fault = unforeseen(error).message
    for film in wanted.values():
        left_out.add(film, fault)


def _written(path: Path, pixels: GreyImage) -> str:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    write_whole(path, buffer.getvalue())
    return path.as_posix()
