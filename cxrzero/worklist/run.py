"""From a prediction table to a folder with a page: read, choose, look, draw, write."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cxrzero.backends.base import cpu_count
from cxrzero.choices import Notify, silent
from cxrzero.errors import OutputError, OutputExistsError, RunError
from cxrzero.files import cannot_write, whole_folder, write_whole
from cxrzero.screener.models import MAX_DEFAULT_WORKERS
from cxrzero.tables.pseudonym import Pseudonymiser, default_key_file, load_key
from cxrzero.tables.record import RunRecord, read_manifest
from cxrzero.worklist.about import about, checked, warnings
from cxrzero.worklist.choose import Chosen, check, choose
from cxrzero.worklist.content import Content
from cxrzero.worklist.look import FOLDER, Looker
from cxrzero.worklist.names import Names
from cxrzero.worklist.options import WorklistOptions
from cxrzero.worklist.overlays import FOLDER as OVERLAYS
from cxrzero.worklist.overlays import Overlays, labels_to_draw, open_overlays
from cxrzero.worklist.page import render
from cxrzero.worklist.rescorer import Rescorer, open_rescorer
from cxrzero.worklist.reviews import Reviews, key_of, read_reviews
from cxrzero.worklist.table import Film, Layout, films_of, open_predictions

PAGE = "index.html"
# Nothing else may be in a folder that --overwrite replaces.
OURS = frozenset({PAGE, FOLDER, OVERLAYS})

OnFilm = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Made:
    """What was made.

    Attributes:
        page: the file to open.
        films: in the list.
        faults: of those that have no picture, why.
        notes: what there is to say.
        overlays: films that have one, which took so many seconds.
    """

    page: Path
    films: int
    faults: tuple[str, ...]
    notes: tuple[str, ...]
    overlays: int = 0
    overlay_seconds: float = 0.0


def make_worklist(options: WorklistOptions, notify: Notify = silent, on_film: OnFilm = lambda *_: None) -> Made:
    """Make the page and its pictures.

    Args:
        on_film: is told how many films are done, of how many.

    Raises:
        UsageError: options contradict each other, or a table is none of the kind expected.
        RunError: the folder cannot be written, no film can be shown, or the model that was named is another one.
    """
    check_folder(options.out, overwrite=options.overwrite)
    layout = open_predictions(options.table)
    check(options, layout)
    manifest = read_manifest(options.table)
    record = RunRecord() if manifest is None else RunRecord.of(manifest)
    names = _names(options, record, notify)
    chosen = choose(options, layout, names)
    if not chosen.rows:
        raise RunError(f"{options.table}: no row can be shown; all {len(chosen.scan.scored):,} failed or were skipped")
    by_row, beside = films_of(layout, chosen.rows, set(chosen.scan.studies[list(chosen.rows)].tolist()))
    films = [by_row[row] for row in chosen.rows]
    reviews = _reviews(options, films, names, layout.labels)
    rescorer, obstacle = open_rescorer(record, options.model, options.device, notify)
    with _replaced(options.out) as folder:
        overlays, none_drawn = _overlays(options, layout, rescorer, record, chosen, films, folder)
        looker = Looker(
            names=names,
            labels=layout.labels,
            rescorer=rescorer,
            decode_options=record.decode_options,
            folder=folder / FOLDER,
            pixels=options.pixels,
            tells_scores=not options.blind,
            overlays=overlays,
        )
        workers = options.workers or min(cpu_count(), MAX_DEFAULT_WORKERS)
        faults = looker.look(films, workers, lambda done: on_film(done, len(films)))
        notes = warnings(faults, obstacle, record, reviews)
        facts = {"Scored again": checked(len(films), faults, obstacle)}
        if not options.blind:
            facts["Overlays"] = overlays.said() if overlays else none_drawn
        words = about(options, layout, record, chosen, names, notes, facts)
        content = Content(
            labels=layout.labels,
            films=films,
            faults=faults,
            names=names,
            reasons=chosen.reasons,
            waited=chosen.waited,
            beside=beside,
            overlays=overlays.drawn if overlays else {},
            thresholds=record.thresholds,
            reviews=reviews.by_place,
            chosen=layout.named(options.label) if options.label else None,
            is_blind=options.blind,
        )
        write_whole(folder / PAGE, render(words, content))
    drawn, seconds = (len(overlays.drawn), overlays.seconds) if overlays else (0, 0.0)
    return Made(options.out / PAGE, len(films), tuple(filter(None, faults)), tuple(notes), drawn, seconds)


def check_folder(folder: Path, *, overwrite: bool) -> None:
    """Find out whether a worklist could be written to a folder, writing nothing.

    Raises:
        OutputExistsError: there is a worklist already.
        OutputError: it is no folder, or it has other files in it.
    """
    if not folder.exists():
        return
    if not folder.is_dir():
        raise OutputError(f"{folder} is a file; name a folder with --out")
    others = sorted(each.name for each in folder.iterdir() if each.name not in OURS)
    if others:
        raise OutputError(f"{folder} has other files in it, such as {others[0]}; name another folder with --out")
    if any(folder.iterdir()) and not overwrite:
        raise OutputExistsError(f"{folder} has a worklist already; name another folder, or give --overwrite")


@contextmanager
def _replaced(folder: Path) -> Iterator[Path]:
    """A new folder that takes the place of an old worklist once it is complete; yields where to fill it."""
    try:
        with whole_folder(folder) as filled:
            yield filled
            if folder.exists():
                shutil.rmtree(folder)
    except OSError as error:
        raise cannot_write(folder, error) from error


def _names(options: WorklistOptions, record: RunRecord, notify: Notify) -> Names:
    if not options.pseudonymise:
        return Names(options.images, None, record.pseudonymised)
    key, is_new = load_key(options.pseudonym_key)
    if is_new:
        place = options.pseudonym_key or default_key_file()
        notify(f"Note: a pseudonym key was made in {place}; keep it secret and do not lose it.")
    return Names(options.images, Pseudonymiser(key), record.pseudonymised)


def _overlays(
    options: WorklistOptions,
    layout: Layout,
    rescorer: Rescorer | None,
    record: RunRecord,
    chosen: Chosen,
    films: list[Film],
    folder: Path,
) -> tuple[Overlays | None, str]:
    if options.blind:
        return None, ""
    known = set(rescorer.labels if rescorer else ())
    wanted = []
    for reason, film in zip(chosen.reasons, films, strict=True):
        decisions = zip(layout.labels, film.numbers.get("decision", ()), strict=False)
        labels = labels_to_draw(reason, [label for label, decision in decisions if decision == 1])
        wanted.append([label for label in labels if label in known])
    return open_overlays(options.overlays, rescorer, record, wanted, folder / OVERLAYS)


def _reviews(options: WorklistOptions, films: list[Film], names: Names, labels: tuple[str, ...]) -> Reviews:
    """Reviews to start from, by real paths or by those that the page shows."""
    if options.reviews is None:
        return Reviews()
    keys = {key_of(path, film.frame): place for place, film in enumerate(films)
            for path in (names.path(film.path), film.path)}  # fmt: skip
    return read_reviews(options.reviews, keys, labels)
