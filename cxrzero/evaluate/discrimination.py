"""Threshold-free results of one label, and their macro averages."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from cxrzero.evaluate.dataset import Dataset
from cxrzero.maths import Bools, Floats, Ints
from cxrzero.stats import influence as influences
from cxrzero.stats.influence import Influence
from cxrzero.stats.intervals import Estimate, logit_wald, newcombe, percentile, span, wald, wilson
from cxrzero.stats.metrics import Ranking, count_units
from cxrzero.stats.resample import Resampling, resampled_ranks

# Below this many rows of a class intervals are known to cover less than they say (docs/eval.md, "Coverage").
FEW = 10
# Below this many units of a class the large-sample intervals are widened, see `auroc_estimate`.
SMALL = 50
# Above this many rows the bootstrap is left out: it costs time and agrees with the analytic interval.
BOOTSTRAP_ROWS = 20_000

NOTHING = Estimate(float("nan"))


@dataclass(frozen=True, slots=True)
class Intervals:
    """How all intervals are made."""

    confidence: float = 0.95
    resampling: Resampling = field(default_factory=Resampling)


@dataclass(frozen=True, slots=True)
class RankScores:
    """AUROC and average precision with the interval that is reported and, beside it, the bootstrap's."""

    auroc: Estimate = NOTHING
    auroc_bootstrap: Estimate = NOTHING
    average_precision: Estimate = NOTHING
    average_precision_bootstrap: Estimate = NOTHING


@dataclass(frozen=True, slots=True)
class LabelScores:
    """Threshold-free results of one label.

    Attributes:
        n_positive, n_negative: rows with a score and a known reference value.
        n_unknown, n_unscored: joined rows without a reference value; with one, but without a score.
        n_uncertain, n_blank, blank_means: cells of the whole reference table, and what blanks were taken for.
        marks: "one_class", "few_positives", "few_negatives".
        pair, positive_only: the two protocols of zero-shot scoring, where the table has cosines: d = cos⁺ − cos⁻, cos⁺.
    """

    label: str
    reference: tuple[str, ...]
    n_positive: int
    n_negative: int
    n_units: int
    n_unknown: int
    n_unscored: int
    n_uncertain: int
    n_blank: int
    blank_means: str
    marks: tuple[str, ...]
    ranks: RankScores = RankScores()
    pair: RankScores | None = None
    positive_only: RankScores | None = None

    @property
    def computable(self) -> bool:
        return "one_class" not in self.marks

    @property
    def enough(self) -> bool:
        """Whether it has enough rows of both classes to enter macro averages."""
        return not self.marks


def score_label(dataset: Dataset, label: str, intervals: Intervals) -> LabelScores:
    """Threshold-free results of one label."""
    rows = dataset.usable(label)
    truth_of, values = dataset.truth[label], dataset.truth[label].values
    truth = values[rows] == 1
    units = dataset.units[rows]
    n_positive = int(truth.sum())
    n_negative = len(truth) - n_positive
    pair = positive_only = None
    ranks = RankScores()
    if n_positive and n_negative:
        ranks = rank_scores(dataset.scores[label][rows], truth, units, intervals)
        if label in dataset.cosines:
            cos_pos, cos_neg = (cosine[rows] for cosine in dataset.cosines[label])
            known = ~np.isnan(cos_pos) & ~np.isnan(cos_neg)
            if truth[known].any() and not truth[known].all():
                pair = rank_scores((cos_pos - cos_neg)[known], truth[known], units[known], intervals)
                positive_only = rank_scores(cos_pos[known], truth[known], units[known], intervals)
    return LabelScores(
        label=label,
        reference=dataset.match.names[label],
        n_positive=n_positive,
        n_negative=n_negative,
        n_units=count_units(units),
        n_unknown=int(np.isnan(values).sum()),
        n_unscored=int(np.sum(~np.isnan(values) & np.isnan(dataset.scores[label]))),
        n_uncertain=truth_of.n_uncertain,
        n_blank=truth_of.n_blank,
        blank_means=truth_of.blank_means if truth_of.n_blank else "",
        marks=marks(n_positive, n_negative),
        ranks=ranks,
        pair=pair,
        positive_only=positive_only,
    )


def marks(n_positive: int, n_negative: int) -> tuple[str, ...]:
    """What a reader must know before believing a label's numbers."""
    if not n_positive or not n_negative:
        return ("one_class",)
    few = (("few_positives", n_positive), ("few_negatives", n_negative))
    return tuple(mark for mark, n in few if n < FEW)


def rank_scores(scores: Floats, truth: Bools, units: Ints, intervals: Intervals) -> RankScores:
    """AUROC and average precision of (n,) scores; both classes must be there."""
    ranking = Ranking.of(scores, truth)
    auroc = influences.auroc_influence(ranking, units)
    precision = influences.average_precision_influence(ranking, units)
    auroc_bootstrap = precision_bootstrap = NOTHING
    if len(truth) <= BOOTSTRAP_ROWS and intervals.resampling.n_resamples:
        aurocs, precisions = resampled_ranks(ranking, units, intervals.resampling)
        auroc_bootstrap = percentile(auroc.value, aurocs, intervals.confidence)
        precision_bootstrap = percentile(precision.value, precisions, intervals.confidence)
    return RankScores(
        auroc_estimate(auroc, truth, units, intervals.confidence),
        auroc_bootstrap,
        average_precision_estimate(precision, truth, units, intervals.confidence),
        precision_bootstrap,
    )


def auroc_estimate(auroc: Influence, truth: Bools, units: Ints, confidence: float) -> Estimate:
    """DeLong's variance on the logit scale; with few units in a class, joined with Newcombe's interval.

    With ten positives DeLong alone covers too little where the scores' spreads are alike, and Newcombe's alone where
    they are not; an interval that spans both does well in either case (docs/eval.md, "Coverage").
    """
    error = auroc.standard_error(units)
    n_positive, n_negative = (count_units(units[member]) for member in (truth, ~truth))
    score_type = newcombe(auroc.value, n_positive, n_negative, confidence)
    if error == 0 or not 0 < auroc.value < 1:
        return score_type
    delong = logit_wald(auroc.value, error, confidence, "delong_logit")
    if min(n_positive, n_negative) >= SMALL:
        return delong
    return span(delong, score_type)


def average_precision_estimate(precision: Influence, truth: Bools, units: Ints, confidence: float) -> Estimate:
    """The jackknife's variance on the logit scale; with few positive units, joined with the binomial logit interval.

    The latter is that of Boyd, Eng and Page (ECML PKDD 2013): the variance of a share of n_positive.
    """
    error = precision.standard_error(units)
    value, n_positive = precision.value, count_units(units[truth])
    if not 0 < value < 1:
        return wilson(value * n_positive, n_positive, confidence)
    binomial_error = math.sqrt(value * (1 - value) / n_positive)
    binomial = logit_wald(value, binomial_error, confidence, "binomial_logit")
    if error == 0:
        return binomial
    jackknife = logit_wald(value, error, confidence, "jackknife_logit")
    return jackknife if n_positive >= SMALL else span(jackknife, binomial)


def label_influences(dataset: Dataset, label: str) -> tuple[Influence, Influence]:
    """AUROC's and average precision's influences among all rows of the dataset."""
    rows = np.flatnonzero(dataset.usable(label))
    ranking = Ranking.of(dataset.scores[label][rows], dataset.truth[label].values[rows] == 1)
    units = dataset.units[rows]
    made = (influences.auroc_influence(ranking, units), influences.average_precision_influence(ranking, units))
    return made[0].spread(rows, len(dataset)), made[1].spread(rows, len(dataset))


@dataclass(frozen=True, slots=True)
class MacroScores:
    """Unweighted means over labels. Their intervals account for labels being read off the same patients."""

    labels: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    auroc: Estimate = NOTHING
    average_precision: Estimate = NOTHING


def macro_scores(dataset: Dataset, results: list[LabelScores], intervals: Intervals) -> MacroScores:
    """Macro averages over the labels with enough rows of both classes; over all computable ones if none has."""
    used = [r.label for r in results if r.enough] or [r.label for r in results if r.computable]
    left_out = tuple(r.label for r in results if r.label not in used)
    if not used:
        return MacroScores((), left_out)
    if len(used) == 1:
        (only,) = (r.ranks for r in results if r.label == used[0])
        return MacroScores(tuple(used), left_out, only.auroc, only.average_precision)
    pairs = [label_influences(dataset, label) for label in used]
    estimates = []
    for macro in (influences.mean([pair[0] for pair in pairs]), influences.mean([pair[1] for pair in pairs])):
        error = macro.standard_error(dataset.units)
        if error > 0:
            estimates.append(wald(macro.value, error, intervals.confidence, "delong_macro"))
        else:
            estimates.append(Estimate(macro.value))
    return MacroScores(tuple(used), left_out, *estimates)
