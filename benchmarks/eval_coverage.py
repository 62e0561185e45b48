"""How often do nominal 95% intervals hold the true value?

Binormal scores with known AUROC (0.75, 0.9), 10, 50 or 500 positives against 450 negatives; `--spread 2` makes the
positives' standard deviation twice the negatives', as where a finding is sometimes plain and sometimes subtle. For
each method: share of replicates whose interval contains the truth, how often the truth lies below and above it, and
the mean length.
The truth of average precision is its population value at the sample's prevalence, by numerical integration.

    python benchmarks/eval_coverage.py --out benchmarks/results/eval_coverage.csv
"""

from __future__ import annotations

import argparse
import csv
import math
import sys
import time
from pathlib import Path
from statistics import NormalDist

import numpy as np

from cxrzero.evaluate.discrimination import auroc_estimate, average_precision_estimate
from cxrzero.stats import influence as influences
from cxrzero.stats.intervals import Estimate, logit_wald, newcombe, percentile, wald
from cxrzero.stats.metrics import Ranking
from cxrzero.stats.resample import Resampling, resampled_ranks

CONFIDENCE = 0.95
N_NEGATIVE = 450


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replicates", type=int, default=5000)
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--positives", type=int, nargs="+", default=[10, 50, 500])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--spread", type=float, default=1.0, help="standard deviation of the positives' scores")
    arguments = parser.parse_args()
    rows = []
    for auroc in (0.75, 0.9):
        for n_positive in arguments.positives:
            started = time.perf_counter()
            found = cover(auroc, n_positive, arguments.spread, arguments.replicates, arguments.resamples)
            rows += found
            for row in found:
                print(
                    f"AUROC {row['auroc']}  {row['n_positive']:>3} positives  {row['metric']:<18}{row['method']:<22}"
                    f"coverage {row['coverage']:.3f} ± {row['monte_carlo_error']:.3f}  below {row['truth_below']:.3f}  "
                    f"above {row['truth_above']:.3f}  length {row['mean_length']:.3f}"
                )
            print(f"  ({time.perf_counter() - started:.0f} s)", file=sys.stderr, flush=True)
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        with arguments.out.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)


def cover(auroc: float, n_positive: int, spread: float, replicates: int, resamples: int) -> list[dict[str, object]]:
    """Coverage of every method in one setting."""
    rng = np.random.default_rng([int(auroc * 100), n_positive])
    shift = math.sqrt(1 + spread**2) * NormalDist().inv_cdf(auroc)
    truth = np.arange(n_positive + N_NEGATIVE) < n_positive
    truths = {"auroc": auroc, "average_precision": population_ap(shift, spread, n_positive / len(truth))}
    tallies: dict[tuple[str, str], list[Estimate]] = {}
    for replicate in range(replicates):
        scores = rng.normal(size=len(truth)) * np.where(truth, spread, 1.0) + shift * truth
        for key, estimate in intervals(scores, truth, Resampling(resamples, replicate)).items():
            tallies.setdefault(key, []).append(estimate)
    rows = []
    for (metric, method), estimates in tallies.items():
        low, high = (np.array([getattr(e, side) for e in estimates]) for side in ("low", "high"))
        covered = float(np.mean((low <= truths[metric]) & (truths[metric] <= high)))
        rows.append(
            {
                "auroc": auroc,
                "spread": spread,
                "n_positive": n_positive,
                "n_negative": N_NEGATIVE,
                "metric": metric,
                "truth": round(truths[metric], 6),
                "method": method,
                "coverage": covered,
                "monte_carlo_error": round(math.sqrt(covered * (1 - covered) / replicates), 5),
                "truth_below": float(np.mean(truths[metric] < low)),
                "truth_above": float(np.mean(truths[metric] > high)),
                "mean_length": round(float(np.mean(high - low)), 5),
                "replicates": replicates,
                "resamples": resamples,
            }
        )
    return rows


def intervals(scores: np.ndarray, truth: np.ndarray, how: Resampling) -> dict[tuple[str, str], Estimate]:
    """Every candidate's interval for one sample; "reported" is what `cxrzero eval` gives."""
    units = np.arange(len(truth))
    ranking = Ranking.of(scores, truth)
    auroc = influences.auroc_influence(ranking, units)
    precision = influences.average_precision_influence(ranking, units)
    n_positive, n_negative = int(truth.sum()), int((~truth).sum())
    aurocs, precisions = resampled_ranks(ranking, units, how)
    spread = auroc.standard_error(units)
    binomial = math.sqrt(precision.value * (1 - precision.value) / n_positive)
    return {
        ("auroc", "reported"): auroc_estimate(auroc, truth, units, CONFIDENCE),
        ("auroc", "delong"): wald(auroc.value, spread, CONFIDENCE),
        ("auroc", "delong_logit"): logit_or_point(auroc.value, spread),
        ("auroc", "newcombe"): newcombe(auroc.value, n_positive, n_negative, CONFIDENCE),
        ("auroc", "bootstrap_percentile"): percentile(auroc.value, aurocs, CONFIDENCE),
        ("average_precision", "reported"): average_precision_estimate(precision, truth, units, CONFIDENCE),
        ("average_precision", "jackknife"): wald(precision.value, precision.standard_error(units), CONFIDENCE),
        ("average_precision", "jackknife_logit"): logit_or_point(precision.value, precision.standard_error(units)),
        ("average_precision", "binomial_logit"): logit_or_point(precision.value, binomial),
        ("average_precision", "bootstrap_percentile"): percentile(precision.value, precisions, CONFIDENCE),
    }


def logit_or_point(value: float, standard_error: float) -> Estimate:
    """The logit interval; where scores separate the classes it does not exist, and counts as the point itself."""
    if not (standard_error > 0 and 0 < value < 1):
        return Estimate(value, value, value)
    return logit_wald(value, standard_error, CONFIDENCE, "logit")


def population_ap(shift: float, spread: float, prevalence: float) -> float:
    """∫ precision d(recall) for normal scores: negatives (0, 1), positives (shift, spread)."""
    cuts = np.linspace(-9 * spread, shift + 9 * spread, 200_001)
    upper = np.array([math.erfc(cut / math.sqrt(2)) / 2 for cut in cuts])
    shifted = np.array([math.erfc((cut - shift) / spread / math.sqrt(2)) / 2 for cut in cuts])
    hits, false_alarms = prevalence * shifted, (1 - prevalence) * upper
    precision = np.divide(hits, hits + false_alarms, out=np.ones_like(hits), where=hits + false_alarms > 0)
    return float(-np.sum((precision[1:] + precision[:-1]) / 2 * np.diff(shifted)))


if __name__ == "__main__":
    main()
