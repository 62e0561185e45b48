"""Speed of the evaluation: the bootstrap against a plain scikit-learn loop, and a table of a million rows.

Both are timed in one process, one after the other, so that the ratio means something on a busy machine.

    python benchmarks/eval_speed.py --rows 1000000
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import sklearn.metrics as sk

from cxrzero.evaluate.options import EvalOptions
from cxrzero.evaluate.run import evaluate
from cxrzero.maths import sigmoid
from cxrzero.stats.metrics import Ranking
from cxrzero.stats.resample import Resampling, outcome_table, resampled_confusions, resampled_ranks

N_LABELS = 14
CUT = 0.6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=500)
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--rows", type=int, default=1_000_000)
    arguments = parser.parse_args()
    compare_bootstraps(arguments.studies, arguments.resamples)
    if arguments.rows:
        large_table(arguments.rows)


def draw(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(n, 14) scores and (n, 14) bool truth with prevalences from 2% to 40%."""
    rng = np.random.default_rng(seed)
    truth = rng.random((n, N_LABELS)) < np.linspace(0.02, 0.4, N_LABELS)
    return sigmoid(rng.normal(size=(n, N_LABELS)) + truth), truth


def compare_bootstraps(n: int, resamples: int) -> None:
    """AUROC alone, then four metrics with a fifth of the resamples, as a loop over scikit-learn and as here."""
    scores, truth = draw(n)
    ranking_metrics = (sk.roc_auc_score, sk.average_precision_score)
    for name, ranked, decided, n_resamples in (
        ("AUROC", ranking_metrics[:1], (), resamples),
        ("AUROC, AP, MCC, F1", ranking_metrics, (sk.matthews_corrcoef, sk.f1_score), resamples // 5),
    ):
        started = time.perf_counter()
        rng = np.random.default_rng(0)
        for _ in range(n_resamples):
            rows = rng.integers(0, n, n)
            for k in range(N_LABELS):
                y, s = truth[rows, k], scores[rows, k]
                if y.any() and not y.all():
                    for metric in ranked:
                        metric(y, s)
                    for metric in decided:
                        metric(y, s >= CUT)
        loop = time.perf_counter() - started
        started = time.perf_counter()
        ours(scores, truth, Resampling(n_resamples), with_decisions=bool(decided))
        here = time.perf_counter() - started
        print(
            f"{n} studies × {N_LABELS} labels × {n_resamples} resamples, {name}: scikit-learn loop {loop:.1f} s, "
            f"here {here:.2f} s, {loop / here:.0f} times faster",
            flush=True,
        )


def ours(scores: np.ndarray, truth: np.ndarray, how: Resampling, *, with_decisions: bool) -> None:
    """What `cxrzero eval` does for the same resamples (AUROC and average precision always come together)."""
    n = len(scores)
    units, usable = np.arange(n), np.ones(n, bool)
    for k in range(N_LABELS):
        resampled_ranks(Ranking.of(scores[:, k], truth[:, k]), units, how)
    if with_decisions:
        tables = [outcome_table(scores[:, k] >= CUT, truth[:, k] * 1.0, usable, units, n) for k in range(N_LABELS)]
        found = resampled_confusions(np.stack(tables), how)
        _ = found.mcc, found.f1


def large_table(n: int) -> None:
    """Files on disk to metrics with DeLong intervals, reading included."""
    scores, truth = draw(n, seed=1)
    labels = [f"Finding {k}" for k in range(N_LABELS)]
    with tempfile.TemporaryDirectory() as folder:
        predictions, references = Path(folder) / "predictions.csv", Path(folder) / "labels.csv"
        write(
            predictions,
            ["path", *labels],
            (f"part{i % 100}/film{i}.dcm" for i in range(n)),
            np.char.mod("%.6f", scores),
        )
        write(
            references,
            ["path", *labels],
            (f"part{i % 100}/film{i}.dcm" for i in range(n)),
            truth.astype(int).astype(str),
        )
        del scores, truth
        started, processor = time.perf_counter(), time.process_time()
        found = evaluate(EvalOptions(str(predictions), str(references), threshold=CUT))
        seconds, processor = time.perf_counter() - started, time.process_time() - processor
        size = (predictions.stat().st_size + references.stat().st_size) / 1e6
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    auroc = found.scores[-1].ranks.auroc
    print(
        f"{n:,} rows × {N_LABELS} labels ({size:.0f} MB of CSV): {seconds:.1f} s, of the processor {processor:.1f} s; "
        f"peak memory of the process {peak:.1f} GB; last label {auroc.value:.4f} "
        f"({auroc.low:.4f} to {auroc.high:.4f}, {auroc.method})"
    )


def write(path: Path, header: list[str], ids: object, cells: np.ndarray) -> None:
    with path.open("w", encoding="utf-8") as stream:
        stream.write(",".join(header) + "\n")
        stream.writelines(f"{name},{','.join(row)}\n" for name, row in zip(ids, cells, strict=True))  # type: ignore[call-overload]


if __name__ == "__main__":
    main()
