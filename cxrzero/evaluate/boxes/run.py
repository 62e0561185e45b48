"""One evaluation of maps against boxes, from options to findings and what their reader must be told."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cxrzero.display.counts import counted, plural, together
from cxrzero.errors import ConfigError
from cxrzero.evaluate.boxes.gather import BoxRules, Gathered, Placed, gather
from cxrzero.evaluate.boxes.maps import MapSource, holds_maps, map_folder
from cxrzero.evaluate.boxes.score import LabelLocation, MeanLocation, mean_location, score_location
from cxrzero.evaluate.boxes.seen import check_seen, seen_column
from cxrzero.evaluate.boxes.table import BoxTable, read_boxes
from cxrzero.evaluate.caveats import Caveat, map_option
from cxrzero.evaluate.discrimination import Intervals
from cxrzero.evaluate.match import parse_mapping
from cxrzero.evaluate.options import EvalOptions
from cxrzero.options import options_of
from cxrzero.prompts.location import FEWEST_UNITS
from cxrzero.stats.resample import Resampling
from cxrzero.tables.read import open_table

MapFilms = Callable[[Path, BoxTable], MapSource]  # (folder of films, boxes) → maps made of them when they are needed

# The options that say something about boxes; the others are of labels, thresholds and comparisons.
OF_BOXES = frozenset({
    "predictions", "boxes", "box_size", "seen", "unseen", "method", "out", "overwrite", "mapping", "on", "patient",
    "confidence", "n_resamples", "seed", "asked", "model",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Localisation:
    """Everything that one evaluation found; the outputs are views of it.

    Attributes:
        labels: one for each finding, two where some of its films were trained on and some not.
        mean: over the findings that have enough patients, on films that were not trained on.
        trained_on: what the model's card says of its training data, "" where the model is not at hand or says nothing.
        warnings: the loud ones first.
    """

    options: EvalOptions
    labels: tuple[LabelLocation, ...]
    mean: MeanLocation | None
    gathered: Gathered
    trained_on: str
    warnings: tuple[Caveat, ...]


def evaluate_boxes(options: EvalOptions, map_films: MapFilms | None = None) -> Localisation:
    """Evaluate maps against boxes. Writes nothing.

    Args:
        options: with `boxes`.
        map_films: maps the films of `options.predictions` where that is a folder of films.

    Raises:
        UsageError: options, maps or a table that cannot be used; the message says which and why.
    """
    table = _table(options)
    folder = Path(options.predictions)
    if holds_maps(folder):
        source = map_folder(folder)
    elif map_films is None:
        raise ConfigError(f"{folder} holds no maps; run cxrzero heatmap with --format npz, and give that folder")
    else:
        source = map_films(folder, table)
    rules = BoxRules(parse_mapping(options.mapping), _on(options.on), options.box_size, options.seen, options.unseen)
    gathered = gather(source, table, rules)
    intervals = Intervals(options.confidence, Resampling(options.n_resamples, options.seed))
    labels = [
        score_location(label, group, intervals)
        for label, placed in gathered.placed.items()
        for group in _by_training(placed)
    ]
    judged = [each.label for each in labels if each.training != "seen" and each.n_units >= FEWEST_UNITS]
    unseen = [[each for each in gathered.placed[label] if each.training != "seen"] for label in judged]
    return Localisation(
        options=options,
        labels=tuple(labels),
        mean=mean_location(judged, unseen, intervals),
        gathered=gathered,
        trained_on=source.trained_on,
        warnings=tuple(sorted(_caveats(gathered, labels, source.trained_on), key=lambda each: not each.is_loud)),
    )


def check_options(options: EvalOptions) -> None:
    """Raises ConfigError if an option is given that says nothing about boxes, or one that says nothing without."""
    given = [each for each in options_of(EvalOptions) if getattr(options, each.name) != each.default]
    if options.boxes is None:
        lone = [each.flags for each in given if each.name in ("box_size", "seen", "unseen", "method")]
        if lone:
            raise ConfigError(f"{lone[0]} is about boxes; give --boxes too")
        return
    if options.labels:
        raise ConfigError(
            f"--boxes takes one folder of maps; leave {options.labels} out, or evaluate labels without it"
        )
    if options.seen is not None and options.unseen:
        raise ConfigError("--seen and --unseen say two things; give one")
    others = [each.flags for each in given if each.name not in OF_BOXES]
    if others:
        raise ConfigError(f"{others[0]} says nothing about boxes; leave it out")


def _table(options: EvalOptions) -> BoxTable:
    if options.boxes is None:
        raise ConfigError("--boxes names no table")
    check_seen(options.seen, open_table(options.boxes).columns)
    column, on = seen_column(options.seen), _on(options.on)
    return read_boxes(options.boxes, options.patient, on and on[1], (column,) if column else ())


def _on(text: str | None) -> tuple[str, str] | None:
    """The column that names films: `--on COLUMN`, or as for labels `--on path=COLUMN`."""
    return None if text is None else ("path", text.rpartition("=")[2].strip())


def _by_training(placed: Sequence[Placed]) -> Iterator[list[Placed]]:
    for training in ("not seen", "unknown", "seen"):
        if group := [each for each in placed if each.training == training]:
            yield group


def _caveats(gathered: Gathered, labels: Sequence[LabelLocation], trained_on: str) -> Iterator[Caveat]:
    yield from _of_training(labels, trained_on)
    yield from _of_labels(gathered, labels)
    yield from _of_films(gathered)


def _of_training(labels: Sequence[LabelLocation], trained_on: str) -> Iterator[Caveat]:
    if any(each.training == "unknown" for each in labels):
        card = f" Its card names: {trained_on}." if trained_on else ""
        yield Caveat(
            "TRAINING UNKNOWN: nothing says whether the model was trained on these films, and no card of a model lists "
            f"its films.{card} Where it was, the results are too good. Say it with --seen or --unseen.",
            is_loud=True,
        )
    seen = [each for each in labels if each.training == "seen"]
    if seen:
        yield Caveat(
            f"SEEN IN TRAINING: {together([each.label for each in seen])} "
            f"({counted(sum(each.n_films for each in seen), 'map')}): the model was trained on these films, so they "
            "are shown, and nothing is judged by them.",
            is_loud=True,
        )


def _of_labels(gathered: Gathered, labels: Sequence[LabelLocation]) -> Iterator[Caveat]:
    marked = [each.label for each in labels if each.verdict == "not validated"]
    if marked:
        yield Caveat(
            f"LOCATION NOT VALIDATED: {together(marked)}. The maps do not hit more often than the best fixed point, "
            "which sees no film.",
            is_loud=True,
        )
    few = [each.label for each in labels if each.verdict == "too few"]
    if few:
        unit = plural(gathered.unit)
        yield Caveat(f"Fewer than {FEWEST_UNITS} {unit} are too few to judge: {together(few)}.")
    for label, near in gathered.match.only_predicted.items():
        hint = f" If {near!r} is the same finding, give {map_option(label, near)}." if near else ""
        yield Caveat(f"NOT EVALUATED: no box is of {label!r}.{hint}", is_loud=bool(near))
    if gathered.not_asked:
        boxes = ", ".join(f"{name} {n:,}" for name, n in gathered.not_asked.items())
        yield Caveat(f"Boxes of findings that were not mapped were left out: {boxes}.")


def _of_films(gathered: Gathered) -> Iterator[Caveat]:
    join, counts, table = gathered.join, gathered.counts, gathered.table
    if n := join.n_only_references:
        first = join.examples.get("only_references", ("",))[0]
        yield Caveat(
            f"{counted(n, 'box is', 'boxes are')} on films that have no map, and not evaluated (first: {first})."
        )
    if n := join.n_references - join.n_matched_rows - join.n_only_references:
        yield Caveat(
            f"{counted(n, 'box names its film', 'boxes name their films')} by what stands for several films, and "
            f"{'was' if n == 1 else 'were'} not evaluated.",
            is_loud=True,
        )
    if counts.outside:
        gone = f", {counts.gone:,} wholly, and are left out" if counts.gone else " and were cut off at their edges"
        yield Caveat(
            f"{counted(counts.outside, 'box reaches', 'boxes reach')} outside their films{gone} (first: "
            f"{counts.first_outside}).",
            is_loud=True,
        )
    if counts.of_frames:
        yield Caveat(
            f"{counted(counts.of_frames, 'box is', 'boxes are')} on films of several frames, and no column 'frame' "
            "says on which; they were left out.",
            is_loud=True,
        )
    if counts.unread:
        boxes = counted(counts.unread, "box is", "boxes are")
        yield Caveat(f"{boxes} on films that cannot be read (first: {counts.first_unread}).", is_loud=True)
    if counts.unmapped:
        yield Caveat(f"{counted(counts.unmapped, 'box is', 'boxes are')} of a finding that was not mapped on its film.")
    if counts.repeated:
        yield Caveat(f"{counted(counts.repeated, 'row repeats', 'rows repeat')} a box that is there already.")
    if n := table.n_rows - len(table.findings):
        yield Caveat(f"{counted(n, 'row has', 'rows have')} no coordinates: no box, and not evaluated.")
    if table.patients is None:
        yield Caveat("No column names the patients, so each film counts as a patient of its own; see --patient.")
    for note in table.notes:
        yield Caveat(f"{table.path.name}: {note}.")
