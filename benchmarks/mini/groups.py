"""AUROC within subgroups of patients: a model that tells bedside films from others looks better than it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.mini.intervals import common, interval, macro, resample_weights, told
from benchmarks.mini.scores import Scorer
from benchmarks.mini.subsets import GROUPS, Subset
from cxrzero.maths import Floats, Ints


@dataclass(frozen=True)
class Group:
    """Attributes:
    findings: with enough positives in the group.
    shared: those that have enough in every group of the kind.
    macro, shared_macro: who → mean AUROC over these, [value, low, high]; empty where there are none.
    """

    kind: str
    name: str
    films: int
    patients: int
    findings: list[str]
    shared: list[str]
    macro: dict[str, list[float]]
    shared_macro: dict[str, list[float]]


def within(scorers: Mapping[str, Scorer], subset: Subset) -> list[Group]:
    """Every group of every kind; the films are scored once."""
    scores = {name: scorer(subset) for name, scorer in scorers.items()}
    found = []
    for kind, groups in GROUPS.items():
        rows = {name: np.flatnonzero([belongs(film) for film in subset.films]) for name, belongs in groups.items()}
        enough = {
            name: common({label: truth[at] for label, truth in subset.truth.items()}) for name, at in rows.items()
        }
        shared = [label for label in subset.truth if all(label in findings for findings in enough.values())]
        for name, at in rows.items():
            found.append(_group(kind, name, subset, at, scores, enough[name], shared))
    return found


def _group(
    kind: str, name: str, subset: Subset, rows: Ints, scores: Mapping[str, dict[str, Floats]],
    findings: list[str], shared: list[str],
) -> Group:  # fmt: skip
    clusters = [subset.films[row].patient for row in rows]
    means: list[dict[str, list[float]]] = [{}, {}]
    for labels, mean in zip((findings, shared), means, strict=True):
        if labels:
            weights = resample_weights(clusters)
            truth = {label: subset.truth[label][rows] for label in labels}
            for who, values in scores.items():
                mean[who] = interval(macro({label: values[label][rows] for label in labels}, truth, labels, weights))
    return Group(kind, name, len(rows), len(set(clusters)), findings, shared, *means)


def table(groups: Sequence[Group]) -> str:
    """Markdown: over the findings of the group, and over those that all groups of its kind have."""
    who = list(groups[0].macro) or list(next(group.macro for group in groups if group.macro))
    heads = ["", "films", "patients", "findings", *who, "findings of all", *who]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for group in groups:
        cells = [f"{group.kind}: {group.name}", str(group.films), str(group.patients), str(len(group.findings))]
        cells += [told(group.macro[each]) if group.macro else "" for each in who]
        cells += [str(len(group.shared)), *(told(group.shared_macro[each]) if group.shared else "" for each in who)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
