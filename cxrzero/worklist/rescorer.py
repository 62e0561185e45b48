"""The models that made a table, to score its films again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cxrzero.choices import Device, Notify
from cxrzero.display.counts import together
from cxrzero.errors import RunError, UsageError
from cxrzero.images.radiograph import GreyImage
from cxrzero.maths import Float32s
from cxrzero.model.score import Ensemble, Scorer
from cxrzero.screener import Screener
from cxrzero.tables.record import RunRecord


@dataclass(frozen=True, slots=True)
class Rescorer:
    """The models of a run, ready to score a film again.

    Attributes:
        labels: in the order of the columns of what `score` gives.
    """

    screener: Screener
    scorer: Scorer
    labels: tuple[str, ...]

    def inputs(self, pixels: GreyImage) -> list[Float32s]:
        """What the encoders take of a film: (3, H, W) for each model."""
        return [member.preprocess(pixels) for member in self.screener.members]

    def score(self, inputs: Sequence[Sequence[Float32s]]) -> Float32s:
        """Inputs of N films → (N, L) probabilities."""
        embeds = [
            np.asarray(member.encoder.encode_images(np.stack([film[place] for film in inputs])), np.float32)
            for place, member in enumerate(self.screener.members)
        ]
        return np.asarray(self.scorer(np.concatenate(embeds, axis=1)).probability, np.float32)


def open_rescorer(
    record: RunRecord, model: Sequence[str], device: Device, notify: Notify
) -> tuple[Rescorer | None, str]:
    """Open the models that made a table: those that a user names, else those of the record, by their names.

    Returns:
        None where that is not possible, and why.

    Raises:
        CxrzeroError: a model that the user names cannot be opened, or is another one.
    """
    if not record.models:
        return None, "there is no record of the run beside the table"
    try:
        screener = Screener(
            tuple(model or (name for name, _ in record.models)),
            device=device,
            precision=record.precision,  # type: ignore[arg-type]  # checked when it opens
            decode_options=record.decode_options,
            notify=notify,
        )
    except (RunError, UsageError) as error:  # what is in the way is no fault of the table
        if model:
            raise
        return None, f"the model of the run's record does not open by its name; name it with --model ({error})"
    if different := _differences(record, screener):
        if model:
            raise UsageError(f"--model is not what made the table: {different}")
        return None, f"{different}; name the model that made the table with --model"
    scorers = [member.classifier(asked) for member, asked in zip(screener.members, record.prompts, strict=True)]
    scorer: Scorer = scorers[0] if len(scorers) == 1 else Ensemble(tuple(scorers))
    return Rescorer(screener, scorer, tuple(prompt.label for prompt in record.prompts[0])), ""


def _differences(record: RunRecord, screener: Screener) -> str:
    ours, theirs = [member.fingerprint for member in screener.members], [mark for _, mark in record.models]
    if ours == theirs:
        return ""
    if len(ours) != len(theirs):
        return f"the table was made by {len(theirs)} models, these are {len(ours)}"
    names = [name for (name, mark), other in zip(record.models, ours, strict=True) if mark != other]
    return f"the model {together(names)} here is another one than that of the run's record (its fingerprint differs)"
