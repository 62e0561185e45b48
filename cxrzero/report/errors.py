"""The part of the evaluation report with the films of the worst errors."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from cxrzero.display.counts import counted
from cxrzero.display.page import escape
from cxrzero.display.pictures import breakable, embedded, enlargeable, film, link
from cxrzero.evaluate.errors import WorstError
from cxrzero.evaluate.run import Evaluation

if TYPE_CHECKING:
    from cxrzero.report.errorfilms import ErrorFilms, Shown

Pair = tuple[WorstError, "Shown"]


def error_section(evaluation: Evaluation, films: ErrorFilms | None) -> str:
    if films is None:
        return ""
    pairs = list(zip(evaluation.errors, films.shown, strict=True))
    cards = "".join(
        _card(evaluation, label, [pair for pair in pairs if pair[0].label == label])
        for label in dict.fromkeys(error.label for error in evaluation.errors)
    )
    return (
        "<section><h2>Worst errors</h2><p>The films that the model has most wrong by the labels, "
        f"{escape(films.method)}. The labels may be wrong, too. A map shows where the model would see the finding, in "
        f"a false positive as in a false negative.</p>{cards or '<p>There are none.</p>'}</section>"
    )


def _card(evaluation: Evaluation, label: str, pairs: list[Pair]) -> str:
    point = evaluation.points.get(label)
    parts = []
    for is_positive in (False, True):
        shown = [pair for pair in pairs if pair[0].is_positive is is_positive]
        if not shown:
            continue
        if point is None:
            title = "Positives with the lowest scores" if is_positive else "Negatives with the highest scores"
        else:
            n, kind, end = (
                (point.fn, "false negative", "lowest") if is_positive else (point.fp, "false positive", "highest")
            )
            of = f", the {len(shown)} {end}" if n > len(shown) else ""
            title = f"{counted(n, kind)}{of} (threshold {point.threshold.value:.4f})"
        parts.append(f"<h4>{escape(title)}</h4>{_films(shown, evaluation.options.out or Path())}")
    return f'<article class="errors"><h3>{escape(label)}</h3>{"".join(parts)}</article>'


def _films(pairs: Iterable[Pair], folder: Path) -> str:
    return f'<div class="films pairs">{"".join(_film(error, shown, folder) for error, shown in pairs)}</div>'


def _film(error: WorstError, shown: Shown, folder: Path) -> str:
    alt = f"{error.label}, score {error.score:.3f}"
    pictures = [
        enlargeable(embedded(picture, f"{what} of {alt}"))
        for what, picture in (("Film", shown.film), ("Map", shown.overlay))
        if picture
    ]
    several = f", of the highest of {error.n_films} films {error.film_score:.3f}" if error.n_films > 1 else ""
    name = ""
    if shown.file is not None:
        name = f'<small><a href="{link(str(shown.file), folder)}">{breakable(str(shown.file))}</a></small>'
    return film("".join(pictures) or escape(shown.fault), f"Score <b>{error.score:.3f}</b>{escape(several)}{name}")
