"""Where the model sees a finding, drawn over the first films of a list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

from cxrzero.display.counts import counted
from cxrzero.files import cannot_write
from cxrzero.heatmap.arrays import FilmMaps
from cxrzero.heatmap.films import Film as MappedFilm
from cxrzero.heatmap.films import film_of
from cxrzero.heatmap.mapper import Mapper
from cxrzero.heatmap.methods import Method, choose_method, validated
from cxrzero.heatmap.overlay import NOT_FOUND, UNVALIDATED, overlay
from cxrzero.heatmap.thresholds import thresholds_of
from cxrzero.images.radiograph import Radiograph
from cxrzero.sources import ImageRef
from cxrzero.tables.record import RunRecord
from cxrzero.worklist.rescorer import Rescorer

FOLDER = "overlays"
# Films that get one where nobody says: by patches a film takes one pass more, by occlusion hundreds.
DEFAULT_FILMS: dict[Method, int] = {"patch": 200, "attention": 200, "occlusion": 0}
# Labels of a film that are drawn at most: the one that gives it its place, then those that were decided.
MOST_LABELS = 3
JPEG_QUALITY = 90


@dataclass(slots=True)
class Overlays:
    """Draws them; a film is prepared where it is decoded, and mapped later together with others.

    Attributes:
        labels: for each film of the list, by its place, what is drawn; places beyond them get nothing.
        method: how the maps are made, and `why`.
        seconds: spent so far.
        drawn: place → label → name of the file.
    """

    rescorer: Rescorer
    folder: Path
    labels: Sequence[Sequence[str]]
    method: Method
    why: str
    thresholds: Mapping[str, float]
    mapper: Mapper
    seconds: float = 0.0
    drawn: dict[int, dict[str, str]] = field(default_factory=dict)

    def prepare(self, place: int, radiograph: Radiograph) -> MappedFilm | None:
        """What mapping needs of a film, without its pixels in full; None where none is drawn."""
        if place >= len(self.labels) or not self.labels[place]:
            return None
        geometries = [member.preprocess.fit for member in self.rescorer.screener.members]
        return film_of(ImageRef(""), radiograph, geometries, draw=True)

    def draw(self, films: Sequence[tuple[int, MappedFilm]]) -> None:
        """Map these films and draw what is wanted of each.

        Raises:
            WriteError: a picture cannot be written.
        """
        started = perf_counter()
        for start in range(0, len(films), self.mapper.at_once):
            some = films[start : start + self.mapper.at_once]
            for (place, film), maps in zip(some, self.mapper([film for _, film in some]), strict=True):
                for label in self.labels[place]:
                    self._draw(place, film, maps, label)
        self.seconds += perf_counter() - started

    def _draw(self, place: int, film: MappedFilm, maps: FilmMaps, label: str) -> None:
        assert film.picture is not None
        number = self.mapper.labels.index(label)
        probability = float(maps.probabilities[number])
        bundles = [member.bundle for member in self.rescorer.screener.members]
        notes = [] if validated(bundles, label, self.method) else [UNVALIDATED]
        notes += [NOT_FOUND] if probability < self.thresholds[label] else []
        name = f"{place + 1:06d}-{number + 1:02d}.jpg"
        self.folder.mkdir(exist_ok=True)
        try:
            overlay(film.picture, maps.upright(number), label, probability, notes).save(
                self.folder / name, "JPEG", quality=JPEG_QUALITY
            )
        except OSError as error:
            raise cannot_write(self.folder / name, error) from error
        self.drawn.setdefault(place, {})[label] = name

    def said(self) -> str:
        """What was drawn, for the page."""
        films = counted(len(self.drawn), "film")
        return f"of {films}, by {self.method} ({self.why}): what gives a film its place, and what was decided"


def open_overlays(
    asked: int | None,
    rescorer: Rescorer | None,
    record: RunRecord,
    wanted: Sequence[Sequence[str]],
    folder: Path,
) -> tuple[Overlays | None, str]:
    """What draws overlays, or None and why not.

    Args:
        asked: for how many films; None takes DEFAULT_FILMS.
        wanted: labels of each film, in order.
    """
    if asked == 0:
        return None, "none (--overlays 0)"
    if rescorer is None:
        return None, "none, for they need the model that made the table"
    screener = rescorer.screener
    method, why = choose_method("auto", [member.bundle for member in screener.members])
    films = DEFAULT_FILMS[method] if asked is None else asked
    if not films:
        return None, f"none: {why}, and occlusion takes seconds a film; --overlays N draws those of the first N films"
    prompts = record.shared_prompts()
    thresholds = {**thresholds_of(screener, prompts, None)[0], **record.thresholds}
    mapper = Mapper(screener.members, prompts, method, screener.batch_size)
    return Overlays(rescorer, folder, wanted[:films], method, why, thresholds, mapper), ""


def labels_to_draw(reason: str, decided: Sequence[str]) -> tuple[str, ...]:
    """The label that gives a film its place, then those that were decided to be there."""
    return tuple(dict.fromkeys(([reason] if reason else []) + list(decided)))[:MOST_LABELS]
