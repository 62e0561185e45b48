"""Each shown film read and scored again: its pictures where it still is what the table says, else what is wrong."""

from __future__ import annotations

import itertools
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from cxrzero.display.pictures import thumbnail
from cxrzero.errors import CxrzeroError, ImageError
from cxrzero.files import cannot_write
from cxrzero.heatmap.films import Film as MappedFilm
from cxrzero.images.radiograph import DecodeOptions, GreyImage, Radiograph
from cxrzero.maths import Float32s
from cxrzero.pipeline.decode_file import unforeseen
from cxrzero.places.members import file_of
from cxrzero.sources.reader import Reader
from cxrzero.tables.changed import NO_FRAME, OTHER_FILM, TOLERANCE, not_there
from cxrzero.worklist.names import Names
from cxrzero.worklist.overlays import Overlays
from cxrzero.worklist.rescorer import Rescorer
from cxrzero.worklist.table import Film

Job = TypeVar("Job")
Done = TypeVar("Done")

# Films that are scored in one call, and files that are read ahead for each worker.
BATCH, AHEAD = 32, 2
# Frames of one file that wait in memory together; for more the file is read again.
FRAMES_AT_ONCE = 64
# The folder of the pictures, and the longer side of a small one: twice what a row of the list shows.
FOLDER, SMALL_PIXELS = "films", 192


def picture_name(place: int) -> str:
    """File of a film's picture, by its place in the list from 0; it says nothing of film or patient."""
    return f"{place + 1:06d}.jpg"


def small_name(place: int) -> str:
    return f"{place + 1:06d}-small.jpg"


@dataclass(slots=True)
class Look:
    """What became of one film.

    Attributes:
        place: in the list, from 0.
        fault: why it has no picture; empty where it has one.
        inputs: of the encoders, until it is scored.
        mapped: what its overlay is made of, until it is drawn.
    """

    place: int
    film: Film
    fault: str
    inputs: list[Float32s] = field(default_factory=list)
    mapped: MappedFilm | None = None


@dataclass(frozen=True, slots=True)
class Looker:
    """Reads films of one table.

    Attributes:
        labels: of the table.
        rescorer: None where nobody can score them again.
        decode_options: of the run that made the table.
        folder: of the pictures.
        pixels: of their longer side.
        tells_scores: whether a fault may quote probabilities.
        overlays: None draws none.
    """

    names: Names
    labels: tuple[str, ...]
    rescorer: Rescorer | None
    decode_options: DecodeOptions
    folder: Path
    pixels: int
    tells_scores: bool
    overlays: Overlays | None = None
    reader: Reader = field(default_factory=Reader)

    def look(self, films: Sequence[Film], workers: int, on_done: Callable[[int], None]) -> list[str]:
        """Draw the pictures of all films; each one's fault, "" where there is none.

        Args:
            on_done: is told how many films are done.

        Raises:
            WriteError: a picture cannot be written.
        """
        self.folder.mkdir()
        by_file: dict[Path, list[Look]] = {}
        for place, film in enumerate(films):
            by_file.setdefault(self.names.file(film.path), []).append(Look(place, film, not_there(film.path)))
        jobs = [
            (file, looks[first : first + FRAMES_AT_ONCE])
            for file, looks in by_file.items()
            for first in range(0, len(looks), FRAMES_AT_ONCE)
        ]
        faults = [""] * len(films)
        with ThreadPoolExecutor(workers) as pool:
            looks = itertools.chain.from_iterable(in_order(pool, self._read, jobs, workers * AHEAD))
            for number, batch in enumerate(_batches(looks)):
                self._score(batch)
                if self.overlays:
                    self.overlays.draw([(each.place, each.mapped) for each in batch if each.mapped and not each.fault])
                for each in batch:
                    each.mapped = None
                    faults[each.place] = each.fault
                    if each.fault:
                        for name in (picture_name(each.place), small_name(each.place)):
                            (self.folder / name).unlink(missing_ok=True)
                on_done(number * BATCH + len(batch))
        return faults

    def _read(self, job: tuple[Path, list[Look]]) -> list[Look]:
        file, looks = job
        for_picture = replace(self.decode_options, fast_side=None)
        try:
            if not os.path.isfile(file_of(file.as_posix())):
                return looks
            for each in looks:
                each.fault = NO_FRAME
            for each, radiograph in self._frames(file, looks, for_picture):
                self._draw(each, radiograph)
            if self.rescorer and self.decode_options.fast_side is not None:  # it was scored on a smaller picture
                for each, radiograph in self._frames(file, looks, self.decode_options):
                    self._prepare(each, radiograph)
        except ImageError as error:
            _blame(looks, str(error))
        except CxrzeroError:
            raise
        except Exception as error:  # as `cxrzero.pipeline.decode_file`: one strange file must not end the work
            _blame(looks, str(unforeseen(error)))
        return looks

    def _frames(self, file: Path, looks: Sequence[Look], options: DecodeOptions) -> Iterator[tuple[Look, Radiograph]]:
        """The wanted frames of a file, in its order; it is read no further than the last of them."""
        wanted: dict[int, list[Look]] = {}
        for each in looks:
            wanted.setdefault(each.film.frame or 1, []).append(each)
        for radiograph in self.reader.decode(file.as_posix(), options):
            for each in wanted.pop(radiograph.frame, ()):
                yield each, radiograph
            if not wanted:
                return

    def _draw(self, each: Look, radiograph: Radiograph) -> None:
        uid = radiograph.facts.sop_instance_uid
        if each.film.sop and not self.names.is_hidden and uid != each.film.sop:
            each.fault = OTHER_FILM
            return
        each.fault = ""
        picture: GreyImage = radiograph.pixels
        self._write(picture_name(each.place), thumbnail(picture, self.pixels))
        self._write(small_name(each.place), thumbnail(picture, SMALL_PIXELS))
        self._prepare(each, radiograph)

    def _prepare(self, each: Look, radiograph: Radiograph) -> None:
        if self.rescorer:
            each.inputs = self.rescorer.inputs(radiograph.pixels)
        if self.overlays:
            each.mapped = self.overlays.prepare(each.place, radiograph)

    def _write(self, name: str, picture: bytes) -> None:
        """The folder has its name only once it is complete; so need not each picture."""
        try:
            (self.folder / name).write_bytes(picture)
        except OSError as error:
            raise cannot_write(self.folder / name, error) from error

    def _score(self, batch: Sequence[Look]) -> None:
        """Compare what can be scored with the table."""
        scored = [each for each in batch if each.inputs and not each.fault]
        if not scored or not self.rescorer:
            return
        probabilities = self.rescorer.score([each.inputs for each in scored])
        for each, row in zip(scored, probabilities.tolist(), strict=True):
            each.inputs = []
            each.fault = self._difference(each.film, dict(zip(self.rescorer.labels, row, strict=True)))

    def _difference(self, film: Film, now: dict[str, float]) -> str:
        gaps = [
            (abs(now[label] - before), label, before)
            for label, before in zip(self.labels, film.probabilities, strict=True)
            if before is not None and label in now
        ]
        gap, label, before = max(gaps, default=(0.0, "", 0.0))
        if gap <= TOLERANCE:
            return ""
        if not self.tells_scores:
            return "scored again, it has another probability than in the table: film or table have changed"
        moved = f"{label} has {now[label]:.6f} and not {before:.6f} as in the table"
        return f"scored again, {moved}: film or table have changed"


def _blame(looks: Iterable[Look], fault: str) -> None:
    """A file that breaks off: what was drawn of its earlier frames is as it was."""
    for each in looks:
        each.fault = each.fault if each.fault in ("", OTHER_FILM) else fault


def in_order(pool: ThreadPoolExecutor, work: Callable[[Job], Done], jobs: Iterable[Job], ahead: int) -> Iterator[Done]:
    """Do jobs side by side, so many at most before the oldest is taken; results in the order of the jobs."""
    waiting: deque[Future[Done]] = deque()
    try:
        for job in jobs:
            waiting.append(pool.submit(work, job))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for each in waiting:
            each.cancel()


def _batches(looks: Iterator[Look]) -> Iterator[list[Look]]:
    while batch := list(itertools.islice(looks, BATCH)):
        yield batch
