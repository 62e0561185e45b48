"""One comparison from start to end: join, measure agreement, find the films that flip; with labels, paired DeLong."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from cxrzero.choices import Notify, silent
from cxrzero.compare.agreement import LabelAgreement, agreement_of
from cxrzero.compare.flips import Flip, draw_flips, flips_of
from cxrzero.compare.options import CompareOptions
from cxrzero.compare.pairs import Pairs, read_pairs
from cxrzero.compare.remarks import remarks
from cxrzero.errors import ConfigError, LabelError
from cxrzero.evaluate.caveats import Caveat
from cxrzero.evaluate.options import EvalOptions
from cxrzero.evaluate.run import Evaluation, evaluate
from cxrzero.report.errorfilms import Shown


@dataclass(frozen=True, slots=True)
class Comparison:
    """Everything that one comparison found; the outputs are views of it.

    Attributes:
        pictures: of the flips' films, by row of the pairs; None where none were asked for or may be shown.
        evaluation: of A against reference labels, compared with B; None without labels.
    """

    options: CompareOptions
    pairs: Pairs
    labels: tuple[LabelAgreement, ...]
    flips: tuple[Flip, ...]
    warnings: tuple[Caveat, ...]
    pictures: dict[int, Shown] | None = field(default=None, repr=False)
    evaluation: Evaluation | None = None


def compare(options: CompareOptions, notify: Notify = silent) -> Comparison:
    """Compare two prediction tables of the same films. Writes nothing.

    Raises:
        UsageError: options or tables that cannot be used; the message says which and why.
    """
    if options.images is not None and not options.images.is_dir():
        raise ConfigError(f"--images {options.images}: there is no such folder")
    pairs = read_pairs(options)
    if not pairs.joined.n_both:
        raise LabelError("no film has a score in both tables; see their status columns")
    found = [agreement_of(pairs, label, options) for label in pairs.names]
    flips = [flip for label in pairs.names for flip in flips_of(pairs, label, options.top)]
    shows = options.images is not None and not pairs.is_pseudonymised and pairs.joined.level != "study"
    evaluation = _with_labels(options)
    warnings = remarks(pairs, found, options)
    return Comparison(
        options=options,
        pairs=pairs,
        labels=tuple(found),
        flips=tuple(flips),
        warnings=(*warnings, *_of_labels(evaluation)),
        pictures=draw_flips(pairs, flips, options.images, notify) if shows and options.images else None,
        evaluation=evaluation,
    )


def _with_labels(options: CompareOptions) -> Evaluation | None:
    if options.labels is None:
        return None
    return evaluate(
        EvalOptions(
            options.a,
            str(options.labels),
            compare=(options.b,),
            patient=options.patient,
            any_score=options.any_score,
            confidence=options.confidence,
            n_resamples=options.n_resamples,
            seed=options.seed,
        )
    )


def _of_labels(evaluation: Evaluation | None) -> list[Caveat]:
    """What there is to say of A beside the labels; the predictions are A's."""
    return [replace(each, text=f"With labels: {each.text}") for each in evaluation.warnings] if evaluation else []
