"""What the reader of a comparison must be told, and how the two runs differ by their records."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from cxrzero.compare.agreement import LabelAgreement
from cxrzero.compare.options import CompareOptions
from cxrzero.compare.pairs import Pairs
from cxrzero.display.counts import counted, together
from cxrzero.evaluate.caveats import Caveat
from cxrzero.evaluate.discrimination import FEW
from cxrzero.tables.record import RunRecord

MANY_TIES = 0.1  # share of the films


def remarks(pairs: Pairs, found: Sequence[LabelAgreement], options: CompareOptions) -> list[Caveat]:
    """All of them, the loud ones first."""
    of_questions = [*_of_labels(pairs), *_of_companions(pairs)]
    every = [*_of_join(pairs), *of_questions, *_of_scores(pairs, found), *_of_pictures(pairs, options)]
    return sorted(every, key=lambda each: not each.is_loud)


def _of_join(pairs: Pairs) -> Iterator[Caveat]:
    joined = pairs.joined
    one = "study" if joined.level == "study" else "film"
    for name, n in (("A", joined.n_a), ("B", joined.n_b)):
        if alone := n - joined.n_pairs:
            rows = counted(alone, "row is", "rows are")
            yield Caveat(f"{rows} in {name} only and in no number here.", is_loud=True)
    for name, n in (("A", joined.n_repeated_a), ("B", joined.n_repeated_b)):
        if n:
            identifiers = counted(n, "identifier stands", "identifiers stand")
            yield Caveat(f"{identifiers} for several rows of {name}; none of these was compared.", is_loud=True)
    for name, other, n in (("A", "B", joined.n_only_a), ("B", "A", joined.n_only_b)):
        if n:
            yield Caveat(
                f"{counted(n, one)} scored in {name} failed or {'was' if n == 1 else 'were'} skipped in {other}: if "
                "these are special, agreement is not what it seems.",
                is_loud=True,
            )
    if n := joined.n_neither:
        yield Caveat(f"{counted(n, one)} {'was' if n == 1 else 'were'} scored in neither table.")
    for hint in joined.hints:
        yield Caveat(f"Some rows were not joined: {hint}.", is_loud=True)


def _of_labels(pairs: Pairs) -> Iterator[Caveat]:
    for name, labels in (("A", pairs.only_a), ("B", pairs.only_b)):
        if labels:
            yield Caveat(
                f"NOT COMPARED: {together(labels)} {'is' if len(labels) == 1 else 'are'} in {name} only. If the other "
                "table has it by another name, give --map.",
                is_loud=True,
            )


def _of_companions(pairs: Pairs) -> Iterator[Caveat]:
    """A model whose labels look at each other was asked others in the other run."""
    a, b = pairs.records
    if a is None or b is None:
        return
    models = tuple(dict.fromkeys((*_asked_otherwise(a, b), *_asked_otherwise(b, a))))
    if models:
        gives = "gives" if len(models) == 1 else "give"
        yield Caveat(
            f"A and B were asked other labels or other words, and {together(models)} {gives} a label another number "
            "beside others. To compare models, ask both the same.",
            is_loud=True,
        )


def _asked_otherwise(run: RunRecord, other: RunRecord) -> Iterator[str]:
    """Models of a run that would give other numbers if they were asked what the other run was."""
    for place, companions in run.together.items():
        mine, theirs = (
            {sentence for label in prompts for sentence in label.positive} - companions
            for prompts in (run.prompts[place], other.prompts[min(place, len(other.prompts) - 1)])
        )
        if mine != theirs:
            yield run.models[place][0]


def _of_scores(pairs: Pairs, found: Sequence[LabelAgreement]) -> Iterator[Caveat]:
    if all(np.array_equal(a, b, equal_nan=True) for a, b in pairs.scores.values()):
        yield Caveat("Every score is the same in both tables.", is_loud=True)
    for name, mark in (("A", "constant_a"), ("B", "constant_b")):
        if labels := [each.label for each in found if mark in each.marks]:
            words = f"{name} has one score for all films, so that there is no order: {together(labels)}."
            yield Caveat(words, is_loud=True)
    if labels := [each.label for each in found if "few" in each.marks]:
        unit = pairs.unit.partition(" ")[0]
        yield Caveat(f"Fewer than {FEW} independent units ({unit}) are too few to judge: {together(labels)}.")
    tied = [each for each in found if max(each.tied_a, each.tied_b) > MANY_TIES and not each.marks]
    if tied:
        yield Caveat(
            f"More than {MANY_TIES:.0%} of the films share their score with another: "
            f"{together([each.label for each in tied])}. Tied films have the mean of their ranks in Spearman's "
            "correlation, count for neither side in tau-b, and are flagged together, so that more films may be flagged "
            "than asked."
        )


def _of_pictures(pairs: Pairs, options: CompareOptions) -> Iterator[Caveat]:
    if options.images is not None and pairs.is_pseudonymised:
        yield Caveat("No film is shown: a table has pseudonyms, and a picture beside one would undo it.")
    elif options.images is not None and pairs.joined.level == "study":
        yield Caveat("No film is shown: these are tables of studies.")


def differences(pairs: Pairs) -> list[tuple[str, str, str]]:
    """(what, A, B) of what decides numbers, where both records say it; none where one has no record."""
    a, b = pairs.records
    if a is None or b is None:
        return []
    prompts = _prompts(pairs, a, b)
    return [
        ("Models", _models(a), _models(b)),
        ("Prompts", prompts, prompts),
        ("Precision", a.precision, b.precision),
        ("Films decoded at", _decoded(a), _decoded(b)),
        ("Calibration", a.calibration_sha256[:12] or "none", b.calibration_sha256[:12] or "none"),
        ("cxrzero", a.version, b.version),
        ("Started", a.started, b.started),
    ]


def _prompts(pairs: Pairs, a: RunRecord, b: RunRecord) -> str:
    """Whether both were asked in the same words, of the labels that are compared."""
    asked = [
        {each.label: [(model[at].positive, model[at].negative) for model in record.prompts]
         for at, each in enumerate(record.prompts[0] if record.prompts else ())}
        for record in (a, b)
    ]  # fmt: skip
    others = [label for label, name in pairs.names.items() if asked[0].get(label) != asked[1].get(name)]
    return f"other words for {together(others)}" if others else "the same in both"


def _decoded(record: RunRecord) -> str:
    side = record.decode_options.fast_side
    return "full size" if side is None else f"a fraction of it (--fast-decode, from {side} pixels on)"


def _models(record: RunRecord) -> str:
    return ", ".join(f"{name} ({fingerprint[:12]})" for name, fingerprint in record.models)
