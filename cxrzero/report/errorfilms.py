"""Pictures of the worst errors: each film read again, and where the model is at hand scored again and mapped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cxrzero.choices import DEFAULT_MODEL, Notify
from cxrzero.display.counts import counted
from cxrzero.display.pictures import jpeg, thumbnail
from cxrzero.errors import ImageError
from cxrzero.evaluate.dataset import Films
from cxrzero.evaluate.errors import WorstError
from cxrzero.evaluate.run import Evaluation
from cxrzero.heatmap.films import Film
from cxrzero.heatmap.mapper import Mapper
from cxrzero.heatmap.methods import choose_method, validated
from cxrzero.heatmap.overlay import NOT_FOUND, UNVALIDATED, overlay
from cxrzero.heatmap.table import Listed
from cxrzero.images.radiograph import DecodeOptions
from cxrzero.member import Member
from cxrzero.report.findfilm import find_film, frame_of_cell, read_frame
from cxrzero.sources.reader import Reader
from cxrzero.tables.changed import OTHER_FILM
from cxrzero.tables.record import RunRecord
from cxrzero.worklist.rescorer import open_rescorer

FILM_PIXELS, OVERLAY_PIXELS = 480, 640  # of the longer side; an overlay has words in it
EVEN = 0.5  # where a label has no threshold


@dataclass(frozen=True, slots=True)
class Shown:
    """What there is to see of one error.

    Attributes:
        file: that was found.
        film, overlay: JPEG; None where there is none.
        fault: why the film is not shown; empty where it is.
    """

    file: Path | None = None
    film: bytes | None = None
    overlay: bytes | None = None
    fault: str = ""


@dataclass(frozen=True, slots=True)
class ErrorFilms:
    """The pictures of an evaluation's errors.

    Attributes:
        shown: one for each of `Evaluation.errors`.
        method: in words, how films were mapped, or why they were not.
    """

    shown: tuple[Shown, ...]
    method: str


def draw_errors(evaluation: Evaluation, notify: Notify) -> ErrorFilms:
    """Draw the films of all errors; `notify` is told before it begins.

    Raises:
        UsageError: --model names another model than that of the predictions.
    """
    films, root = evaluation.dataset.films, evaluation.options.images
    if films is None or root is None:
        return ErrorFilms((), "")
    drawer = _drawer(evaluation, films, root, notify)
    by_film: dict[tuple[str, int], list[WorstError]] = {}
    for error in evaluation.errors:
        by_film.setdefault((films.paths[error.place], frame_of_cell(films.frames[error.place])), []).append(error)
    notify(f"Worst errors: {counted(len(by_film), 'film')}, {drawer.method}")
    shown: dict[WorstError, Shown] = {}
    for (cell, frame), errors in by_film.items():
        shown |= drawer.draw(cell, frame, errors)
    return ErrorFilms(tuple(shown[error] for error in evaluation.errors), drawer.method)


@dataclass(frozen=True, slots=True)
class _Drawer:
    """Reads films of one table.

    Attributes:
        mapper: None where the model is not at hand; `members` are then none.
        options: how films were decoded for the table.
        thresholds: label → threshold, where there is one.
        method: see `ErrorFilms`.
    """

    films: Films
    root: Path
    thresholds: Mapping[str, float]
    method: str
    options: DecodeOptions = field(default_factory=DecodeOptions)
    mapper: Mapper | None = None
    members: Sequence[Member] = ()
    reader: Reader = field(default_factory=Reader)

    def draw(self, cell: str, frame: int, errors: Sequence[WorstError]) -> dict[WorstError, Shown]:
        """All errors of one film; what is wrong with it is said in the place of its picture."""
        file = find_film(self.root, cell)
        if file is None:
            return dict.fromkeys(errors, Shown(fault="there is no file of this name in the folder of --images"))
        try:
            geometries = [member.preprocess.fit for member in self.members]
            film = read_frame(self.reader, file, frame, self.options, geometries)
            return self._pictures(file, film, errors)
        except ImageError as error:
            return dict.fromkeys(errors, Shown(file, fault=error.message))

    def _pictures(self, file: Path, film: Film, errors: Sequence[WorstError]) -> dict[WorstError, Shown]:
        assert film.picture is not None, "it was asked for"
        small = thumbnail(film.picture, FILM_PIXELS)
        stated = {error.label: error.film_score for error in errors}
        listed = Listed(str(file), film.frame, self.films.sops[errors[0].place], stated)
        if self.mapper is None:
            if listed.sop and film.facts.sop_instance_uid != listed.sop:
                raise ImageError("changed", OTHER_FILM)
            return dict.fromkeys(errors, Shown(file, small))
        (maps,) = self.mapper([film])
        listed.check(film, maps)
        shown = {}
        for error in errors:
            place, label = maps.labels.index(error.label), error.label
            notes = [] if validated([m.bundle for m in self.members], label, self.mapper.method) else [UNVALIDATED]
            if error.film_score < self.thresholds.get(label, EVEN):
                notes.append(NOT_FOUND)
            drawn = overlay(film.picture, maps.upright(place), label, error.film_score, notes)
            shown[error] = Shown(file, small, jpeg(drawn, OVERLAY_PIXELS))
        return shown


def _drawer(evaluation: Evaluation, films: Films, root: Path, notify: Notify) -> _Drawer:
    thresholds = {label: point.threshold.value for label, point in evaluation.points.items()}
    manifest, options = evaluation.dataset.manifest, DecodeOptions()
    if manifest is None:
        why = "there is no record of the run beside the table"
    else:
        record = RunRecord.of(manifest)
        options = record.decode_options
        named = () if evaluation.options.model == (DEFAULT_MODEL,) else evaluation.options.model
        rescorer, why = open_rescorer(record, named, "auto", notify)
        if rescorer and len(set(record.prompts)) > 1:
            why = "the models of the ensemble were asked in different words"
        elif rescorer:
            members = rescorer.screener.members
            method, reason = choose_method("auto", [member.bundle for member in members])
            mapper = Mapper(members, record.prompts[0], method, rescorer.screener.batch_size)
            return _Drawer(films, root, thresholds, f"with maps by {method} ({reason})", options, mapper, members)
    return _Drawer(films, root, thresholds, f"without maps and not scored again, because {why}", options)
