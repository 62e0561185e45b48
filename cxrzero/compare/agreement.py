"""Label by label, how far two tables agree: in the order of the films, in decisions, and in how scores are spread."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from cxrzero.compare.options import CompareOptions
from cxrzero.compare.pairs import Pairs
from cxrzero.evaluate.discrimination import BOOTSTRAP_ROWS, FEW, NOTHING, Intervals
from cxrzero.maths import Bools, Floats, Ints
from cxrzero.stats import agreement as statistics
from cxrzero.stats.influence import Influence
from cxrzero.stats.intervals import Estimate, fisher_wald, p_value, percentile, wald
from cxrzero.stats.metrics import count_units
from cxrzero.stats.resample import Resampling

NAN = float("nan")
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True, slots=True)
class Shift:
    """How scores are spread in each table, over the films that both scored.

    Attributes:
        quantiles_a, quantiles_b: at QUANTILES.
        largest_gap: between the two distribution functions: 0 where the scores are spread alike, 1 where those of one
            lie all above those of the other.
        n_higher, n_lower: films with a higher, and with a lower score in B.
    """

    mean_a: float
    mean_b: float
    quantiles_a: tuple[float, ...]
    quantiles_b: tuple[float, ...]
    largest_gap: float
    n_higher: int
    n_lower: int


@dataclass(frozen=True, slots=True)
class Decisions:
    """One way to decide a label, in both tables.

    Attributes:
        rule: "stated" (the tables' own), "threshold", or "share".
        asked: the threshold or the share; NaN of the tables' own.
        threshold_a, threshold_b: from which score on a film is flagged; NaN of the tables' own.
        kappa: Cohen's; NaN where both flag all films or none.
        flagged_gap: share that B flags minus share that A does, of the same films.
        p: that neither flags more than the other: McNemar's exact test where each film is a unit of its own, else from
            the error of `flagged_gap`; NaN for "share", where both flag alike by construction.
    """

    rule: str
    asked: float
    threshold_a: float
    threshold_b: float
    both: int
    only_a: int
    only_b: int
    neither: int
    kappa: Estimate
    kappa_bootstrap: Estimate
    flagged_gap: Estimate
    p: float


@dataclass(frozen=True, slots=True)
class LabelAgreement:
    """What two tables have in common about one label.

    Attributes:
        name_b: what the label is called in B.
        n: films that both scored; n_only_a, n_only_b: films that only one did.
        tau_b: Kendall's.
        tied_a, tied_b: share of the films that have a score which another film has too.
        marks: "constant_a", "constant_b" (one score for all films), "few".
    """

    label: str
    name_b: str
    n: int
    n_units: int
    n_only_a: int
    n_only_b: int
    spearman: Estimate
    spearman_bootstrap: Estimate
    tau_b: Estimate
    tied_a: float
    tied_b: float
    marks: tuple[str, ...] = ()
    shift: Shift | None = None
    decisions: tuple[Decisions, ...] = field(default=())


def agreement_of(pairs: Pairs, label: str, options: CompareOptions) -> LabelAgreement:
    """All that is said of one label."""
    intervals = Intervals(options.confidence, Resampling(options.n_resamples, options.seed))
    whole_a, whole_b = pairs.scores[label]
    rows = ~np.isnan(whole_a) & ~np.isnan(whole_b)
    a, b, units = whole_a[rows], whole_b[rows], pairs.units[rows]
    spearman, tau_b = (
        _correlation(found(a, b, units), units, options.confidence)
        for found in (statistics.spearman_influence, statistics.tau_b_influence)
    )
    drawn = np.empty(0)
    if _resamples(a, intervals):
        drawn = statistics.resampled_spearman(a, b, units, intervals.resampling)
    constant = [mark for mark, each in (("constant_a", a), ("constant_b", b)) if len(each) and each.min() == each.max()]
    return LabelAgreement(
        label=label,
        name_b=pairs.names[label],
        n=len(a),
        n_units=count_units(units),
        n_only_a=int((~np.isnan(whole_a) & np.isnan(whole_b)).sum()),
        n_only_b=int((np.isnan(whole_a) & ~np.isnan(whole_b)).sum()),
        spearman=spearman,
        spearman_bootstrap=percentile(spearman.value, drawn, options.confidence),
        tau_b=tau_b,
        tied_a=statistics.tied_share(a),
        tied_b=statistics.tied_share(b),
        marks=(*constant, *(["few"] if count_units(units) < FEW else [])),
        shift=_shift(a, b) if len(a) else None,
        decisions=tuple(_decisions(pairs, label, rows, options, intervals)) if len(a) else (),
    )


def flags(a: Floats, b: Floats, share: float) -> tuple[tuple[Bools, float], tuple[Bools, float]]:
    """Which films each table flags if both flag their highest, and from which score on; ties flag more."""
    most = max(1, round(share * len(a)))

    def highest(values: Floats) -> tuple[Bools, float]:
        threshold = float(np.partition(values, len(values) - most)[len(values) - most])
        return values >= threshold, threshold

    return highest(a), highest(b)


def _decisions(
    pairs: Pairs, label: str, rows: Bools, options: CompareOptions, intervals: Intervals
) -> Iterator[Decisions]:
    a, b = (scores[rows] for scores in pairs.scores[label])
    units = pairs.units[rows]
    if label in pairs.decisions:
        stated = [each[rows] for each in pairs.decisions[label]]
        known = ~np.isnan(stated[0]) & ~np.isnan(stated[1])
        if known.any():
            one, other = (each[known] == 1 for each in stated)
            yield _decided("stated", NAN, (one, NAN), (other, NAN), units[known], intervals)
    if options.threshold is not None:
        x = options.threshold
        yield _decided("threshold", x, (a >= x, x), (b >= x, x), units, intervals)
    for share in options.share:
        yield _decided("share", share, *flags(a, b, share), units, intervals)


def _decided(
    rule: str, asked: float, a: tuple[Bools, float], b: tuple[Bools, float], units: Ints, intervals: Intervals
) -> Decisions:
    (one, threshold_a), (other, threshold_b) = a, b
    both, only_a, only_b = int((one & other).sum()), int((one & ~other).sum()), int((~one & other).sum())
    kappa = _correlation(statistics.kappa_influence(one, other, units), units, intervals.confidence)
    drawn = np.empty(0)
    if _resamples(one, intervals):
        drawn = statistics.resampled_kappas(one, other, units, intervals.resampling)
    gap, p = _flagged_gap(one, other, units, intervals.confidence)
    return Decisions(
        rule=rule,
        asked=asked,
        threshold_a=threshold_a,
        threshold_b=threshold_b,
        both=both,
        only_a=only_a,
        only_b=only_b,
        neither=len(one) - both - only_a - only_b,
        kappa=kappa,
        kappa_bootstrap=percentile(kappa.value, drawn, intervals.confidence),
        flagged_gap=NOTHING if rule == "share" else gap,
        p=NAN if rule == "share" else p,
    )


def _flagged_gap(one: Bools, other: Bools, units: Ints, confidence: float) -> tuple[Estimate, float]:
    gap = statistics.share_gap_influence(one, other, units)
    error = gap.standard_error(units)
    estimate = wald(gap.value, error, confidence, "paired_delta") if error > 0 else Estimate(gap.value)
    if count_units(units) == len(units):
        return estimate, statistics.mcnemar_p(int((one & ~other).sum()), int((~one & other).sum()))
    return estimate, p_value(gap.value / error) if error > 0 else (1.0 if gap.value == 0 else NAN)


def _correlation(found: Influence, units: Ints, confidence: float) -> Estimate:
    return fisher_wald(found.value, found.standard_error(units), confidence)


def _resamples(values: Floats | Bools, intervals: Intervals) -> bool:
    """As for `eval`: of many rows the bootstrap costs time and says the same."""
    return 1 < len(values) <= BOOTSTRAP_ROWS and intervals.resampling.n_resamples > 0


def _shift(a: Floats, b: Floats) -> Shift:
    quantiles = [tuple(np.quantile(each, QUANTILES).tolist()) for each in (a, b)]
    return Shift(
        mean_a=float(a.mean()),
        mean_b=float(b.mean()),
        quantiles_a=quantiles[0],
        quantiles_b=quantiles[1],
        largest_gap=statistics.largest_gap(a, b),
        n_higher=int((b > a).sum()),
        n_lower=int((b < a).sum()),
    )
