"""Choose a pair of templates on one half of a labelled set; measure what it gained on the other half."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from cxrzero.errors import ConfigError, LabelError, NoInputError, UsageError
from cxrzero.files import write_whole
from cxrzero.maths import Bools, Float32s, Floats, Ints
from cxrzero.model.score import Cosine
from cxrzero.pipeline.items import RunStats
from cxrzero.prompts.ask import is_normal
from cxrzero.prompts.labels import LabelPrompts, check_labels
from cxrzero.screener import Screener
from cxrzero.sources import ImageRef, check_paths, find_images
from cxrzero.stats.metrics import Ranking, auroc_from_tallies
from cxrzero.tables.labelled import Labelled, read_labelled

RESAMPLES = 1000
CHUNK = 100  # resamples at once: 100 × 100,000 images are 80 MB

POSITIVE = ("{}", "{} is present", "evidence of {}", "findings of {}", "there is {}", "radiograph showing {}")
NEGATIVE = ("no {}", "without {}", "no evidence of {}", "there is no {}", "absence of {}", "normal chest radiograph")


@dataclass(frozen=True, slots=True)
class Choice:
    """The result; AUROCs are means over the labels, `gain` is that on the half that took no part in choosing.

    Attributes:
        low, high: 95% percentile bootstrap interval of the gain, resampled by group.
        failed: images that could not be read and took no part.
    """

    positive: str
    negative: str
    n_labels: int
    n_choice: int
    n_report: int
    choice_before: float
    choice_after: float
    report_before: float
    report_after: float
    low: float
    high: float
    failed: int

    @property
    def gain(self) -> float:
        return self.report_after - self.report_before


def read_films(table: Path, images: str | Path, labels: Sequence[str] | None, group: str | None) -> Labelled:
    """Read a labelled table; without `labels` all of its findings, but none such as "No Finding", which templates do
    not fit.

    Args:
        images: the folder that the table's paths start from; or `@list.txt`, whose files, and those in its folders,
            the table names by the end of their paths. Rows of other images are then left out.

    Raises:
        UsageError: see `cxrzero.tables.labelled.read_labelled`.
        NoInputError: the list cannot be read, or names none of the table's images.
        ConfigError: a row fits two files of the list.
    """
    wanted = None if labels is None else check_labels(labels)
    if str(images).startswith("@"):
        data = _in_list(read_labelled(table, Path(), wanted, group), str(images), table)
    else:
        data = read_labelled(table, Path(images), wanted, group)
    if labels is not None:
        return data
    findings = [place for place, label in enumerate(data.labels) if not is_normal(label)]
    if not findings:
        raise LabelError(f"{table} has no label but {', '.join(data.labels)}, which templates do not fit")
    return data.only(findings, "templates do not fit")


def _in_list(data: Labelled, listed: str, table: Path) -> Labelled:
    """The rows whose images a list names, each with the path that it has there."""
    check_paths([listed])
    by_name: dict[str, list[Path]] = {}
    for ref in find_images([listed]):
        path = Path(ref.path)
        by_name.setdefault(path.name, []).append(path)
    rows: list[int] = []
    paths: list[Path] = []
    for row, named in enumerate(data.paths):
        found = {path for path in by_name.get(named.name, ()) if path.parts[-len(named.parts) :] == named.parts}
        if len(found) > 1:
            raise ConfigError(f"{table}: {named} fits {len(found)} files of {listed[1:]}; give more of its path")
        if found:
            rows.append(row)
            paths.extend(found)
    if not rows:
        raise NoInputError(f"{listed[1:]} names no image of {table}")
    if len(set(paths)) < len(paths):
        raise UsageError(f"{table} names an image of {listed[1:]} in two ways; give each image one row")
    return replace(data, paths=tuple(paths), truth=data.truth[rows], units=data.units[rows])


def choose(screener: Screener, data: Labelled, seed: int = 0) -> Choice:
    """Try every pair of a positive and a negative template; each image and sentence is embedded once.

    The pair before is the model's own first one. Labels need both classes in both halves.

    Raises:
        NoInputError: no image could be read.
        UsageError: no label has both classes in both halves, or the model has no embeddings.
    """
    screener.member.require_embeddings()
    positives = tuple(dict.fromkeys((screener.member.bundle.templates.positive[0], *POSITIVE)))
    negatives = tuple(dict.fromkeys((screener.member.bundle.templates.negative[0], *NEGATIVE)))
    names = [label.replace("_", " ").lower() for label in data.labels]
    sentences = list(dict.fromkeys(t.replace("{}", name) for name in names for t in (*positives, *negatives)))
    column = {sentence: index for index, sentence in enumerate(sentences)}
    cosines = _cosines(screener, data.paths, sentences)
    read = np.isfinite(cosines).all(axis=1)
    if not read.any():
        raise NoInputError("no image of the table could be read")
    truth, groups, cosines = data.truth[read], data.units[read], cosines[read].astype(np.float64)
    choice = _half(groups, seed)
    used = [index for index in range(len(names)) if _both(truth[choice, index]) and _both(truth[~choice, index])]
    if not used:
        raise UsageError("no label has both 0 and 1 in both halves; give a larger labelled set")

    def margins(positive: str, negative: str) -> Floats:
        def at(template: str) -> Floats:
            return np.asarray(cosines[:, [column[template.replace("{}", names[index])] for index in used]], np.float64)

        return np.asarray(at(positive) - at(negative), np.float64)

    truth = truth[:, used]
    pairs = [(positive, negative) for positive in positives for negative in negatives]
    means = [_mean_auroc(margins(*pair)[choice], truth[choice]) for pair in pairs]
    best = int(np.argmax(means))  # of equal pairs the first, so the model's own stays where nothing is better
    before, after, report = margins(*pairs[0])[~choice], margins(*pairs[best])[~choice], truth[~choice]
    low, high = _interval(before, after, report, groups[~choice], seed)
    return Choice(
        *pairs[best],
        n_labels=len(used),
        n_choice=int(choice.sum()),
        n_report=int((~choice).sum()),
        choice_before=means[0],
        choice_after=means[best],
        report_before=_mean_auroc(before, report),
        report_after=_mean_auroc(after, report),
        low=low,
        high=high,
        failed=int((~read).sum()),
    )


def write_templates(path: Path, result: Choice) -> None:
    """Write the chosen pair as a prompts file.

    Raises:
        OutputError: it cannot be written.
    """
    sides = {"positive": [result.positive], "negative": [result.negative]}
    lines = ["templates:", *(f"  {side}: {json.dumps(texts)}" for side, texts in sides.items())]
    write_whole(path, "\n".join(lines) + "\n")


def _cosines(screener: Screener, paths: Sequence[Path], sentences: Sequence[str]) -> Float32s:
    """(N, T) cosines; a row of NaN where the image could not be read. Of several frames the first counts."""
    text_embeds = screener.embed_texts(sentences)
    classifier = Cosine(text_embeds, text_embeds, screener.member.bundle.scoring)
    asked = [LabelPrompts(str(index), (), ()) for index in range(len(sentences))]
    place = {str(path): index for index, path in enumerate(paths)}
    cosines = np.full((len(paths), len(sentences)), np.nan, np.float32)
    for row in screener.stream((ImageRef(path) for path in place), classifier, asked, RunStats()):
        if row.status == "ok" and row.frame in (None, 1):
            cosines[place[row.path]] = list(row.scores.values())
    return cosines


def _half(groups: Ints, seed: int) -> Bools:
    """(N,) bool: true for the groups of the first half."""
    unique = np.unique(groups)
    chosen = np.random.default_rng(seed).permutation(unique)[: len(unique) // 2]
    return np.isin(groups, chosen)


def _both(truth: Floats) -> bool:
    return bool((truth == 0).any() and (truth == 1).any())


def _mean_auroc(margins: Floats, truth: Floats) -> float:
    return float(_resampled(margins, truth, np.ones((1, len(truth))))[0])


def _resampled(margins: Floats, truth: Floats, weights: Floats) -> Floats:
    """(B,) mean AUROC over the labels for (B, N) weights; labels that lost a class in a resample are left out of it."""
    aurocs = []
    for index in range(truth.shape[1]):
        known = np.isfinite(truth[:, index])
        ranking = Ranking.of(margins[known, index], truth[known, index] == 1)
        aurocs.append(auroc_from_tallies(*ranking.tallies(weights[:, known])))
    stacked = np.stack(aurocs)
    defined = np.isfinite(stacked)
    counts = defined.sum(axis=0)
    sums = np.where(defined, stacked, 0.0).sum(axis=0)
    return np.asarray(np.divide(sums, counts, out=np.full(len(sums), np.nan), where=counts > 0))


def _interval(before: Floats, after: Floats, truth: Floats, groups: Ints, seed: int) -> tuple[float, float]:
    """95% percentile interval of the difference of mean AUROCs, both from the same resamples of groups."""
    rng = np.random.default_rng(seed)
    units = np.unique(groups, return_inverse=True)[1]
    n_units = int(units.max()) + 1
    gains: list[float] = []
    for _ in range(0, RESAMPLES, CHUNK):
        weights = rng.multinomial(n_units, np.full(n_units, 1 / n_units), size=CHUNK)[:, units].astype(np.float64)
        gains.extend(_resampled(after, truth, weights) - _resampled(before, truth, weights))
    low, high = np.nanquantile(gains, [0.025, 0.975])
    return float(low), float(high)
