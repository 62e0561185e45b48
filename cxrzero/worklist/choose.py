"""Which rows of a table are shown, in which order and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cxrzero.display.counts import counted, together
from cxrzero.errors import LabelError, UsageError
from cxrzero.maths import Ints
from cxrzero.prompts.ask import is_normal
from cxrzero.worklist.names import Names
from cxrzero.worklist.options import WorklistOptions
from cxrzero.worklist.order import by_chance, descending, highest, ranks, with_oldest
from cxrzero.worklist.reviews import NOT_LABELS
from cxrzero.worklist.table import RECEIVED, Layout, Scan, scan


@dataclass(frozen=True, slots=True)
class Chosen:
    """Rows in their order.

    Attributes:
        rows: their numbers in the table.
        order: in a sentence, what it is by.
        reasons: of each the label that gives it its place, "" for none.
        waited: places given to films that waited longest.
        scan: of the whole table.
    """

    rows: tuple[int, ...]
    order: str
    reasons: tuple[str, ...]
    waited: frozenset[int]
    scan: Scan


def choose(options: WorklistOptions, layout: Layout, names: Names) -> Chosen:
    """Read the table for the first time, and choose.

    Raises:
        UsageError: options contradict each other.
        LabelError: there is no such label, or none that an order can be by.
    """
    check(options, layout)
    if options.blind:
        seen = scan(layout, ())
        order = by_chance(seen.scored, options.seed)
        rows = tuple(order[: options.top].tolist())
        words = f"{len(rows):,} of {counted(len(order), 'film')}, drawn and ordered by chance with seed {options.seed}."
        return Chosen(rows, words, ("",) * len(rows), frozenset(), seen)
    labels, kind = _judged(options, layout)
    columns = [label if kind != "calibrated" else f"{label}_calibrated" for label in labels]
    seen = scan(layout, columns, names.received if options.oldest_every else None)
    keys, reason = highest(ranks(seen.values, seen.scored) if kind == "rank" else seen.values)
    order = descending(keys, seen.scored)
    words = _words(options, layout, labels, kind)
    rows, waited = tuple(order[: options.top].tolist()), frozenset[int]()
    if options.oldest_every and seen.received is not None:
        listed, waiting = with_oldest(order, seen.received, options.oldest_every, options.top)
        rows, waited = tuple(listed), frozenset(place for place, row in enumerate(listed) if row in waiting)
        words += _about_waiting(options.oldest_every, layout, order, seen)
    return Chosen(rows, words, tuple(labels[column] for column in reason[list(rows)].tolist()), waited, seen)


def check(options: WorklistOptions, layout: Layout) -> None:
    """Refuse options that contradict each other, and labels that a table of reviews has no place for."""
    if options.label and options.by:
        raise UsageError("--label orders by one label and --by max by the highest of all; give one of them")
    if options.blind and (options.by or options.oldest_every):
        given = "--by" if options.by else "--oldest-every"
        raise UsageError(f"--blind draws films and their order by chance; leave out {given}")
    if options.blind and options.overlays:
        raise UsageError("--blind shows no overlay; leave out --overlays")
    if options.pseudonym_key and not options.pseudonymise:
        raise UsageError("--pseudonym-key without --pseudonymise would show real paths and UIDs; give both")
    taken = [label for label in layout.labels if label in NOT_LABELS]
    if taken:
        raise LabelError(f"the label {taken[0]!r} has the name of a column of reviews; predict with other words")


def _judged(options: WorklistOptions, layout: Layout) -> tuple[list[str], str]:
    """The labels that decide the order, and by which number: "probability", "calibrated" or "rank".

    That a film is normal is no reason to look at it first; such labels take part only where they are named.
    """
    if options.label:
        return [layout.named(options.label)], "probability"
    labels = [label for label in layout.labels if not is_normal(label)]
    if not labels:
        raise LabelError(f"{together(layout.labels)} says that nothing was found; name with --label what to order by")
    if len(labels) == 1 and not options.by:
        return labels, "probability"
    calibrated = [label for label in labels if layout.column(label, "calibrated")]
    return (calibrated, "calibrated") if calibrated else (labels, "rank")


def _words(options: WorklistOptions, layout: Layout, labels: Sequence[str], kind: str) -> str:
    if kind == "probability":
        return f"The highest probability of {labels[0]} first."
    aside = [label for label in layout.labels if label not in labels]
    without = f" ({together(aside)} aside)" if aside else ""
    if kind == "calibrated":
        return f"The film whose highest calibrated probability of any label is highest first{without}."
    return (
        f"The film whose highest rank within any label is highest first{without}: without a calibration, probabilities "
        "of different labels cannot be compared."
    )


def _about_waiting(every: int, layout: Layout, order: Ints, seen: Scan) -> str:
    source = f"the column {RECEIVED}" if RECEIVED in layout.source.columns else "the files' modification times"
    words = f" Every {every}th place goes to the film that has waited longest, by {source}"
    unknown = 0 if seen.received is None else int(np.isnan(seen.received[order]).sum())
    return words + (f"; of {counted(unknown, 'film')} nobody knows since when." if unknown else ".")
