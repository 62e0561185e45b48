"""HTML tables of the report. Cells are escaped here; nothing from a file reaches the page as markup."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cxrzero.display.page import escape
from cxrzero.stats.intervals import Estimate

DASH = "–"
LAST = 1e9  # sorts cells without a number to the end

MARKS = {
    "one_class": "one class only",
    "few_positives": "few positives",
    "few_negatives": "few negatives",
}


@dataclass(frozen=True, slots=True)
class Cell:
    """A table cell: markup to show and, for sorting, the number behind it."""

    html: str
    sort: float | None = None
    css: str = ""


def text(value: object, css: str = "") -> Cell:
    return Cell(escape(str(value)), css=css)


def count(value: int) -> Cell:
    return Cell(f"{value:,}", float(value), "number")


def number(value: float, digits: int = 3) -> Cell:
    if math.isnan(value):
        return Cell(DASH, -LAST, "number")
    return Cell(f"{value:.{digits}f}".replace("-", "−"), value, "number")


def estimate(each: Estimate, digits: int = 3) -> Cell:
    """Value and interval, the latter smaller and on its own line."""
    value = number(each.value, digits)
    if math.isnan(each.value) or math.isnan(each.low):
        return value
    low, high = (number(side, digits).html for side in (each.low, each.high))
    return Cell(f'{value.html}<span class="ci">{low} to {high}</span>', value.sort, "number")


def inline(each: Estimate, digits: int = 3) -> str:
    """Value and interval as plain text: "0.734 (0.626 to 0.820)"."""
    if math.isnan(each.low):
        return DASH if math.isnan(each.value) else f"{each.value:.{digits}f}"
    return f"{each.value:.{digits}f} ({each.low:.{digits}f} to {each.high:.{digits}f})"


def p_value(p: float) -> Cell:
    if math.isnan(p):
        return Cell(DASH, LAST, "number")
    return Cell("&lt; 0.001" if p < 0.001 else f"{p:.3f}", p, "number")


def marks(names: Iterable[str]) -> str:
    """A label's marks as small signs."""
    return " ".join(f'<span class="mark">{MARKS[name]}</span>' for name in names)


def table(header: Sequence[str], rows: Iterable[Sequence[Cell]], *, sortable: bool = False, caption: str = "") -> str:
    """A table in a scrolling box; the first column heads its row."""
    head = "".join(
        f'<th scope="col" data-name="{escape(name)}"><button type="button">{escape(name)}</button></th>'
        if sortable
        else f'<th scope="col">{escape(name)}</th>'
        for name in header
    )
    body = "".join(f"<tr>{_first(row[0])}{''.join(map(_cell, row[1:]))}</tr>" for row in rows)
    title = f"<caption><span>{escape(caption)}</span></caption>" if caption else ""
    css = ' class="sortable"' if sortable else ""
    return f'<div class="scroll"><table{css}>{title}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def folded(summary: str, body: str) -> str:
    """Markup that is shown on request; the summary is plain text."""
    return f"<details><summary>{escape(summary)}</summary>{body}</details>"


def facts(pairs: Iterable[tuple[str, str]]) -> str:
    """A list of named facts; values are markup already."""
    return "<dl>" + "".join(f"<dt>{escape(name)}</dt><dd>{value}</dd>" for name, value in pairs) + "</dl>"


def _first(cell: Cell) -> str:
    return f'<th scope="row"{_sort(cell)}>{cell.html}</th>'


def _cell(cell: Cell) -> str:
    css = f' class="{cell.css}"' if cell.css else ""
    return f"<td{css}{_sort(cell)}>{cell.html}</td>"


def _sort(cell: Cell) -> str:
    return "" if cell.sort is None else f' data-sort="{cell.sort!r}"'
