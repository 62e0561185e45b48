"""What the page says of itself: what made the table, how many films, what was checked, what to know first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from cxrzero.display.counts import counted, together
from cxrzero.tables.changed import TOLERANCE
from cxrzero.tables.record import RunRecord
from cxrzero.worklist.choose import Chosen
from cxrzero.worklist.names import Names
from cxrzero.worklist.options import WorklistOptions
from cxrzero.worklist.page import About
from cxrzero.worklist.reviews import Reviews
from cxrzero.worklist.table import Layout, LeftOut


def about(
    options: WorklistOptions,
    layout: Layout,
    record: RunRecord,
    chosen: Chosen,
    names: Names,
    warnings: Sequence[str],
    more: Mapping[str, str],
) -> About:
    """Put it together; a page for blind reading names no threshold, one with pseudonyms no table.

    Args:
        more: facts of making it.
    """
    left_out = chosen.scan.left_out
    total, scored = len(chosen.scan.scored), int(chosen.scan.scored.sum())
    facts = {
        "Films": f"{len(chosen.rows):,} of {scored:,} that could be shown; the table has {counted(total, 'row')}, "
        f"{counted(left_out.counts.total(), 'of them is', 'of them are')} left out",
        **more,
        "Model": together([f"{name} ({mark[:12]})" for name, mark in record.models]) or "not known: no record of a run",
    }
    if record.started:
        facts["Predicted"] = f"{record.started[:16].replace('T', ' ')} UTC by cxrzero {record.version}"
    if not (options.pseudonymise or options.blind or record.pseudonymised):
        facts["Table"] = str(options.table)
    if not options.blind:
        facts["What the numbers are"] = "Scores order films; they are frequencies only after calibration."
        if record.calibration:
            facts["Calibration"] = record.calibration
    facts["Pictures"] = (
        f"At most {options.pixels:,} pixels wide or high, in 256 grey levels; text that is burned into a film stays in "
        "them."
    )
    prompts = {each.label: (each.positive, each.negative) for each in (record.prompts[0] if record.prompts else ())}
    return About(
        _title(options, layout), chosen.order, facts, prompts, warnings, _shown(left_out, names, options.blind)
    )


def _title(options: WorklistOptions, layout: Layout) -> str:
    if options.blind:
        return "Films to read"
    return f"Worklist: {layout.named(options.label)}" if options.label else "Worklist"


def _shown(left_out: LeftOut, names: Names, is_blind: bool) -> LeftOut:
    """With paths as the page may show them."""
    examples = [] if is_blind else [(names.path(path), frame, error) for path, frame, error in left_out.examples]
    return replace(left_out, examples=examples)


def checked(n_films: int, faults: Sequence[str], obstacle: str) -> str:
    """What became of scoring each film again."""
    if obstacle:
        return f"no: {obstacle}"
    agree = sum(not fault for fault in faults)
    return f"{agree:,} of {counted(n_films, 'film')} have the table's probabilities within {TOLERANCE:.5f}"


def warnings(faults: Sequence[str], obstacle: str, record: RunRecord, reviews: Reviews) -> list[str]:
    """What must be read first."""
    found = []
    if obstacle:
        found.append(f"The probabilities were not checked: {obstacle}.")
    if record.pseudonymised:
        found.append("The table has pseudonyms, which lead to no file: there are no pictures. Give the original table.")
    else:
        kinds = Counter(fault.split(",")[0].split(":")[0] for fault in faults if fault)
        found += [
            f"{counted(count, 'film has', 'films have')} no picture: {kind}." for kind, count in kinds.most_common()
        ]
    if reviews.elsewhere:
        found.append(
            f"{counted(reviews.elsewhere, 'review is', 'reviews are')} of films that this list does not have; what you "
            "export will not have them."
        )
    if reviews.unknown:
        found.append(f"The reviews have labels that the table does not have: {together(reviews.unknown)}.")
    return found
