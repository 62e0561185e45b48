"""Below which probability a finding counts as not found, so that its map only says where it would be looked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cxrzero.choices import OWN_CALIBRATION
from cxrzero.display.counts import together
from cxrzero.errors import UsageError
from cxrzero.model.model_json import CALIBRATION
from cxrzero.prompts import LabelPrompts

if TYPE_CHECKING:
    from cxrzero.screener import Screener

EVEN = 0.5


def thresholds_of(
    screener: Screener, prompts: Sequence[LabelPrompts], stated: float | None
) -> tuple[dict[str, float], str]:
    """Label → threshold, and in a sentence where they come from.

    Args:
        stated: by the user, for all labels; None takes those of the model's own calibration where it fits what is
            asked, and EVEN where it has none.
    """
    labels = [prompt.label for prompt in prompts]
    if stated is not None:
        return dict.fromkeys(labels, stated), f"not found means a probability below {stated:g}"
    fitted = _fitted(screener, prompts)
    thresholds = {label: fitted.get(label, EVEN) for label in labels}
    without = [label for label in labels if label not in fitted]
    if not fitted:
        return thresholds, f"not found means a probability below {EVEN:g}: the model brings no threshold for it"
    rest = f", below {EVEN:g} for {together(without)}, for which it has none" if without else ""
    return thresholds, f"not found means a probability below the threshold of the model's own calibration{rest}"


def _fitted(screener: Screener, prompts: Sequence[LabelPrompts]) -> dict[str, float]:
    """Thresholds that the model's own calibration has, of the prompts that it was fitted for."""
    if screener.is_ensemble or CALIBRATION not in screener.member.bundle.files:
        return {}
    found: dict[str, float] = {}
    for prompt in prompts:
        try:
            applied = screener.calibration(OWN_CALIBRATION, [prompt])
        except UsageError:  # not fitted for this label, or not as it is asked
            continue
        threshold = applied.labels[prompt.label].threshold
        if threshold is not None:
            found[prompt.label] = threshold.value
    return found
