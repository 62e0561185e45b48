"""Zero-shot AUROC on labelled images: the tool's own prompts and the intervals of `cxrzero eval`."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np

from cxrzero.display.counts import counted
from cxrzero.errors import UsageError
from cxrzero.evaluate.discrimination import Intervals, auroc_estimate
from cxrzero.maths import AnyFloats
from cxrzero.prompts.bank import key_of
from cxrzero.prompts.mentions import listed_names
from cxrzero.stats import influence
from cxrzero.stats.intervals import Estimate, wald
from cxrzero.stats.metrics import Ranking
from cxrzero.tables.labelled import Labelled, read_labelled
from cxrzero.train.data.intake import listed

CONFIDENCE = Intervals().confidence


def read_films(path: Path, image_root: Path | None, texts: Collection[str] = ()) -> Labelled:
    """Read a table of labelled images, of its labels those that have both classes.

    A finding for which the training's texts have another name is asked by that: NIH's "Effusion" as "pleural effusion".

    Raises:
        UsageError: see `cxrzero.tables.labelled.read_labelled`; images are missing (all named), or no label has both
            classes.
    """
    table = read_labelled(path, path.parent if image_root is None else image_root)
    both = [i for i, truth in enumerate(table.truth.T) if (truth == 1).any() and (truth == 0).any()]
    if not both:
        raise UsageError(f"{path}: no label column has both 1 and 0; there is no AUROC to measure")
    absent = [str(each) for each in table.paths if not each.is_file()]
    if absent:
        raise UsageError(
            f"{path} names {counted(len(absent), 'image that does', 'images that do')} not exist:", *listed(absent, "")
        )
    return table.only(both, "it lacks 1 or 0").asked_as(texts)


def score_labelled(table: Labelled, differences: AnyFloats) -> tuple[dict[str, Estimate], Estimate]:
    """AUROC of each label, and their mean, with 95% intervals.

    Args:
        differences: (N, L) d = cos⁺ − cos⁻.
    """
    single, spread = {}, []
    for column, label in enumerate(table.labels):
        rows = np.flatnonzero(~np.isnan(table.truth[:, column]))
        truth = table.truth[rows, column] == 1
        ranking = Ranking.of(differences[rows, column].astype(np.float64), truth)
        found = influence.auroc_influence(ranking, table.units[rows])
        single[label] = auroc_estimate(found, truth, table.units[rows], CONFIDENCE)
        spread.append(found.spread(rows, len(table.paths)))
    if len(single) == 1:
        return single, next(iter(single.values()))
    macro = influence.mean(spread)
    error = macro.standard_error(table.units)
    return single, wald(macro.value, error, CONFIDENCE, "delong_macro") if error > 0 else Estimate(macro.value)


def shown_names(table: Labelled) -> tuple[str, ...]:
    """What results call the labels: headings as they are; words of cells, which anybody may have typed, only where the
    built-in bank lists them."""
    if not table.from_cells:
        return table.labels
    names = enumerate(table.labels, 1)
    return tuple(name if key_of(name) in listed_names() else f"label {number}" for number, name in names)
