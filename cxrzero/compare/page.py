"""compare.html: two tables side by side, on one page that needs nothing from elsewhere."""

from __future__ import annotations

import datetime
import math
from collections.abc import Iterator
from pathlib import Path

from cxrzero.compare.agreement import QUANTILES
from cxrzero.compare.flips import Flip
from cxrzero.compare.outputs import COMPARE_CSV, COMPARE_JSON
from cxrzero.compare.plots import LEGEND, label_plots
from cxrzero.compare.remarks import differences
from cxrzero.compare.run import Comparison
from cxrzero.display.counts import counted, plural
from cxrzero.display.page import escape
from cxrzero.display.pictures import breakable, embedded, enlargeable, film, link
from cxrzero.report.cells import Cell, count, estimate, number, p_value, table, text
from cxrzero.report.errorfilms import Shown
from cxrzero.report.frame import read_first, report_page
from cxrzero.report.sections import comparison_section

RULES = {"stated": "the tables' own decisions", "threshold": "score of at least {:g}", "share": "the highest {:.3g}%"}


def render(comparison: Comparison, created: datetime.datetime | None = None) -> str:
    """The whole page; `created` is shown as its time, None leaves it out."""
    a, b = (escape(each) for each in (comparison.options.a, comparison.options.b))
    joined = comparison.pairs.joined
    size = counted(joined.n_both, "study" if joined.level == "study" else "film")
    return report_page(
        f"Comparison of {Path(comparison.options.a).name} and {Path(comparison.options.b).name}",
        [f"A is {a}", f"B is {b}", f"{size} with a score in both"],
        _sections(comparison),
        f"{COMPARE_CSV} and {COMPARE_JSON}",
        created,
    )


def _sections(comparison: Comparison) -> Iterator[str]:
    yield read_first(comparison.warnings)
    yield _meaning(comparison)
    yield _order(comparison)
    yield _decisions(comparison)
    yield _shift(comparison)
    yield _plots(comparison)
    yield _flips(comparison)
    if comparison.evaluation is not None:
        yield comparison_section(comparison.evaluation, "With labels", "of A", "of B")
    yield _records(comparison)
    yield _methods(comparison)


def _meaning(comparison: Comparison) -> str:
    right = "" if comparison.evaluation is not None else (
        " Which of the two is right nobody can tell without labels: give --labels for that."
    )  # fmt: skip
    return (
        "<section><p>Agreement says how much would change if B took the place of A, and not which is better. Scores of "
        "two models are not comparable: 0.6 of one may mean less than 0.5 of the other. So films are compared by their "
        f"place in the order of each table.{right}</p></section>"
    )


def _order(comparison: Comparison) -> str:
    header = ["Label", "Compared", "Only A", "Only B", "Spearman's ρ", "Kendall's τ-b", "Tied in A", "Tied in B"]
    rows = [
        [
            text(each.label if each.name_b == each.label else f"{each.label} ({each.name_b} in B)"),
            count(each.n),
            count(each.n_only_a),
            count(each.n_only_b),
            estimate(each.spearman),
            estimate(each.tau_b),
            _percent(each.tied_a),
            _percent(each.tied_b),
        ]
        for each in comparison.labels
    ]
    caption = (
        f"Each correlation stands with its {comparison.options.confidence:.0%} interval. 1 is the same order of all "
        "films, 0 none in common. Tied: films that have the same score as another."
    )
    return f"<section><h2>The order of the films</h2>{table(header, rows, sortable=True, caption=caption)}</section>"


def _decisions(comparison: Comparison) -> str:
    header = ["Label", "Flagged are", "Threshold A", "Threshold B", "Flagged by A", "Flagged by B", "Both", "Only A",
              "Only B", "Neither", "κ", "Flagged by B − by A", "p"]  # fmt: skip
    rows = [
        [
            text(label.label),
            text(RULES[each.rule].format(each.asked * (100 if each.rule == "share" else 1))),
            number(each.threshold_a, 4),
            number(each.threshold_b, 4),
            count(each.both + each.only_a),
            count(each.both + each.only_b),
            *(count(n) for n in (each.both, each.only_a, each.only_b, each.neither)),
            estimate(each.kappa),
            estimate(each.flagged_gap),
            p_value(each.p),
        ]
        for label in comparison.labels
        for each in label.decisions
    ]
    caption = (
        "κ: Cohen's kappa, agreement beyond that by chance. p: that neither flags more films than the other; it says "
        "nothing of which is right, and has no meaning where both flag the same share on purpose."
    )
    return f"<section><h2>Decisions</h2>{table(header, rows, sortable=True, caption=caption)}</section>"


def _shift(comparison: Comparison) -> str:
    names = [f"{share:.0%}" for share in QUANTILES]
    header = ["Label", *(f"A {name}" for name in names), *(f"B {name}" for name in names), "Largest gap", "Higher in B",
              "Lower in B"]  # fmt: skip
    rows = [
        [
            text(each.label),
            *(number(value) for value in (*each.shift.quantiles_a, *each.shift.quantiles_b)),
            number(each.shift.largest_gap),
            count(each.shift.n_higher),
            count(each.shift.n_lower),
        ]
        for each in comparison.labels
        if each.shift is not None
    ]
    caption = (
        "Quantiles of the scores, and the largest gap between the two distribution functions (0 alike, 1 apart). A "
        "threshold chosen for A fits B only where there is no shift, and even then only if films keep their order."
    )
    return f"<section><h2>The scores</h2>{table(header, rows, sortable=True, caption=caption)}</section>"


def _plots(comparison: Comparison) -> str:
    cards = []
    for label in comparison.pairs.names:
        plots = label_plots(comparison.pairs, label, [flip for flip in comparison.flips if flip.label == label])
        if plots:
            grid = f'<div class="grid-of-plots">{"".join(plots)}</div>'
            cards.append(f'<article class="card"><h3>{escape(label)}</h3>{grid}</article>')
    return f"<section><h2>Pictures</h2>{LEGEND}{''.join(cards)}</section>"


def _flips(comparison: Comparison) -> str:
    if not comparison.flips:
        return ""
    articles = "".join(
        f'<article><h3>{escape(label)}</h3><div class="films">{"".join(_film(comparison, each) for each in flips)}'
        "</div></article>"
        for label in comparison.pairs.names
        if (flips := [flip for flip in comparison.flips if flip.label == label])
    )
    pictures = (
        "" if comparison.pictures is not None else " Give --images with the folder of the films to see them."
        if comparison.options.images is None else ""
    )  # fmt: skip
    checked = (
        " A picture is of the file as it is now; it was not scored again." if comparison.pictures is not None else ""
    )
    return (
        "<section><h2>Films that flip most</h2><p>The films whose place in the order changes most, by the change of "
        f"rank and not of the score.{pictures}{checked}</p>{articles}</section>"
    )


def _film(comparison: Comparison, flip: Flip) -> str:
    shown = Shown() if comparison.pictures is None else comparison.pictures[flip.row]
    alt = f"Film of rank {flip.below_a:.0%} in A and {flip.below_b:.0%} in B for {flip.label}"
    picture = enlargeable(embedded(shown.film, alt)) if shown.film else escape(shown.fault or "not shown")
    path = breakable(flip.path)
    if shown.file is not None:
        path = f'<a href="{link(str(shown.file), comparison.options.out or Path())}">{path}</a>'
    frame = f", frame {flip.frame}" if flip.frame > 1 else ""
    rows = "".join(
        f'<div class="row"><span>{name}: {score:.4f}{_decided(decision)}</span><b>above {below:.1%}</b></div>'
        for name, score, below, decision in (
            ("A", flip.score_a, flip.below_a, flip.decision_a),
            ("B", flip.score_b, flip.below_b, flip.decision_b),
        )
    )
    return film(picture, f"{rows}<small>{path}{frame}</small>")


def _decided(decision: int | None) -> str:
    return "" if decision is None else ", positive" if decision else ", negative"


def _records(comparison: Comparison) -> str:
    said = differences(comparison.pairs)
    if not said:
        body = "<p>Not both tables have a record of their run beside them: nothing is known of how they were made.</p>"
    else:
        body = table(["", "A", "B"], ([text(cell) for cell in row] for row in said))
    return f"<section><h2>What made the tables</h2>{body}</section>"


def _methods(comparison: Comparison) -> str:
    pairs, joined, options = comparison.pairs, comparison.pairs.joined, comparison.options
    notes = "".join(f"<li>{escape(note)}</li>" for note in pairs.notes)
    unit = pairs.unit.partition(" ")[0]
    n_units = len(set(pairs.units.tolist()))
    return (
        f"<section><h2>Methods</h2><ul><li>{joined.n_pairs:,} of {counted(joined.n_a, 'row')} of A and "
        f"{counted(joined.n_b, 'row')} of B were joined by {escape(joined.key)}.</li>"
        f"<li>Independent unit: {escape(pairs.unit)}; {counted(n_units, unit, plural(unit))}. Intervals are from the "
        "influence of each unit, of correlations and κ on the scale of Fisher's z; those of the bootstrap are in "
        f"{COMPARE_CSV}.</li><li>{escape(_p_method(comparison))}</li>{notes}"
        f"<li>Confidence {options.confidence:.0%}.</li></ul></section>"
    )


def _p_method(comparison: Comparison) -> str:
    singles = len(set(comparison.pairs.units.tolist())) == len(comparison.pairs)
    return (
        "p is McNemar's exact test." if singles
        else "p is from the error of the paired difference over units, where several films are of one."
    )  # fmt: skip


def _percent(share: float) -> Cell:
    return number(share) if math.isnan(share) else Cell(f"{share:.1%}", share, "number")
