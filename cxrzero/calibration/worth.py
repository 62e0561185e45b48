"""What a calibration is worth, in sentences for whoever uses its thresholds and probabilities."""

from __future__ import annotations

from collections.abc import Iterator

from cxrzero.calibration.file import Calibration, LabelCalibration
from cxrzero.display.counts import counted

ELSEWHERE = "For other hospitals and another share of sick patients its thresholds and probabilities are not valid"


def worth(calibration: Calibration) -> str:
    """On what it was fitted, what a person says of that, and what it therefore is not for; without a full stop."""
    parts = [f"fitted on {_fitted_on(calibration)}", *([calibration.note.rstrip(". ")] if calibration.note else [])]
    return f"{'; '.join(parts)}. {ELSEWHERE}"


def worth_of_labels(calibration: Calibration) -> Iterator[tuple[str, str]]:
    """(label, sentence) for each label."""
    for label, each in calibration.labels.items():
        yield label, "; ".join(_of_label(each))


def _fitted_on(calibration: Calibration) -> str:
    fitted_on = calibration.fitted_on
    if fitted_on is None:  # of an earlier version, which kept the rows of each label alone
        most = max((each.n_positive + each.n_negative for each in calibration.labels.values()), default=0)
        return counted(most, "labelled row")
    rows = counted(fitted_on.n_rows, fitted_on.row)
    is_own_unit = fitted_on.n_units == fitted_on.n_rows and fitted_on.unit != "patient"
    return rows if is_own_unit else f"{rows} of {counted(fitted_on.n_units, fitted_on.unit)}"


def _of_label(each: LabelCalibration) -> Iterator[str]:
    threshold, calibrator, tested = each.threshold, each.calibrator, each.tested
    yield f"threshold {threshold.value:.4g} ({threshold.rule})" if threshold else "no threshold"
    yield f"probability by {calibrator.as_dict()['method']}" if calibrator else "no calibrated probability"
    yield f"fitted on {each.n_positive:,} with and {each.n_negative:,} without it"
    if tested:
        yield (
            f"on others, {tested.n_positive:,} with and {tested.n_negative:,} without it, sensitivity "
            f"{tested.sensitivity:.2f} and specificity {tested.specificity:.2f}"
        )
