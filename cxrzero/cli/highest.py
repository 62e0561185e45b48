"""What `cxrzero predict` shows of its answers: for each label the highest films, and what the numbers are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence

from rich.cells import cell_len
from rich.text import Text

from cxrzero.cli.console import Console
from cxrzero.display.counts import counted, plural, together
from cxrzero.display.visible import visible
from cxrzero.predict.highest import High, Highest
from cxrzero.predict.plan import Plan
from cxrzero.predict.run import Outcome
from cxrzero.prompts.remarks import CHANCE, NO_FINDING, UNMEASURED, how_measured

SHOWN_NAME = 28  # the least that is shown of a film's name
SHOWN_LABEL = 60  # characters; a whole sentence may be a label
NAMED = 12  # labels, or kinds of flags, that are named in one line
MOST_NAMED_OF_ALL = 3  # where it is all labels
ONLY_ORDER = "Scores order films; they are frequencies only after calibration."
FREQUENCIES = (
    "Scores order films. Calibrated values are frequencies, as far as these films are like those of the calibration."
)


def print_highest(console: Console, plan: Plan, outcome: Outcome) -> None:
    """For each label its highest films (of --by study: studies), and how many reached its threshold."""
    films, shown = outcome.highest, outcome.highest_studies or outcome.highest
    if not films.n:
        return
    labels = [prompt.label for prompt in plan.prompts]
    marks = _marks(plan)
    if plan.options.top != 0:
        what = "study" if outcome.highest_studies else "film"
        console.print(f"The highest of {counted(shown.n, what)} for each label:")
        for label in shown.labels:
            console.print(_heading(label, marks.get(label, ""), _reached(plan, films, label)))
            for film in shown.of(label):
                console.print(_line(console, film, films.everywhere))
        for line in _folded(films, labels[len(shown.labels) :]):
            console.print(line, style="dim")
    models = "these models" if plan.screener.is_ensemble else "this model"
    for words, code in (("At chance, so read nothing into it", CHANCE), (f"Never measured with {models}", UNMEASURED)):
        if found := [label for label in labels if marks.get(label) == code]:
            console.print(f"{words}: {_some(found, 'label', of=len(labels))}", style="yellow")
    if films.n_flagged:
        kinds = [f"{flag} {n:,}" for flag, n in sorted(films.flags.items(), key=lambda each: (-each[1], each[0]))]
        console.print(f"Flagged: {films.n_flagged:,} of {counted(films.n, 'film')} ({_some(kinds, 'kind')})")
    console.print(FREQUENCIES if plan.calibration else ONLY_ORDER)


def _marks(plan: Plan) -> dict[str, str]:
    """Label → CHANCE, with any of the models, or UNMEASURED, with all of them."""
    no_finding = frozenset(remark.label for remark in plan.remarks if remark.code in NO_FINDING)
    bundles = [member.bundle for member in plan.screener.members]
    found = Counter((each.label, each.code) for each in how_measured(plan.prompts, bundles, no_finding))
    unmeasured = {label: code for (label, code), n in found.items() if code == UNMEASURED and n == len(bundles)}
    return unmeasured | {label: code for label, code in found if code == CHANCE}


def _heading(label: str, mark: str, reached: str) -> Text:
    words = {CHANCE: " (at chance)", UNMEASURED: " (never measured)"}.get(mark, "")
    name = label if len(label) <= SHOWN_LABEL else label[: SHOWN_LABEL - 1] + "…"
    return Text.assemble((visible(name), "bold"), (words, "yellow"), f": {reached}" if reached else "")


def _reached(plan: Plan, films: Highest, label: str) -> str:
    """ "3 films at or above 0.532, 1 of them flagged"; "" where the label has no threshold."""
    threshold = plan.calibration.labels[label].threshold if plan.calibration else None
    if threshold is None:
        return ""
    n, flagged = films.reached[label], films.reached_flagged[label]
    also = f", {flagged:,} of them flagged" if flagged and films.n_flagged < films.n else ""
    return f"{counted(n, 'film')} at or above the threshold {threshold.value:.3f}{also}"


def _line(console: Console, film: High, everywhere: Collection[str]) -> Text:
    """Its value, its name, its flags. A log has all of a name, a terminal its end: that tells more than its start."""
    own = [flag for flag in film.flags if flag not in everywhere]
    numbers = f"  {film.probability:.3f}"
    if film.sd is not None:
        numbers += f" ± {film.sd:.3f}"
    if film.calibrated is not None:
        numbers += f", calibrated {film.calibrated:.3f}"
    more = f" (frame {film.frame})" if film.frame else ""
    flags = f"  {', '.join(own)}" if own else ""
    name = visible(film.name)
    if console.is_terminal:
        name = _tail(name, max(SHOWN_NAME, console.width - cell_len(numbers + more + flags) - 2))
    return Text.assemble(numbers, "  ", name, more, (flags, "dim"))


def _folded(films: Highest, rest: Sequence[str]) -> Iterator[str]:
    if rest:
        yield f"… {counted(len(rest), 'more label')} in the table"
    if found := Counter({label: films.reached[label] for label in rest if films.reached[label]}):
        counts = [f"{visible(label)} {n:,}" for label, n in found.most_common()]
        yield f"  of these, films at or above their thresholds: {_some(counts, 'label')}"


def _some(words: Sequence[str], what: str, of: int | None = None) -> str:
    """The first NAMED of them, and how many more; "all 14 labels" where that says it."""
    if len(words) == of and len(words) > MOST_NAMED_OF_ALL:
        return f"all {len(words):,} {plural(what)}"
    rest = len(words) - NAMED
    return together([*words[:NAMED], *([counted(rest, f"more {what}")] if rest > 0 else [])])


def _tail(name: str, width: int) -> str:
    """The end of a name, in so many cells."""
    if cell_len(name) <= width:
        return name
    end = name[1 - width :]
    while cell_len(end) >= width:  # Chinese characters are two wide
        end = end[1:]
    return "…" + end
