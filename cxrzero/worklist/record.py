"""How a table was made, by the record beside it, and the models that score its films again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np

from cxrzero.choices import Device, Notify
from cxrzero.display.counts import together
from cxrzero.errors import ConfigError, RunError, UsageError
from cxrzero.images.radiograph import DecodeOptions, GreyImage
from cxrzero.maths import Float32s
from cxrzero.model.score import Ensemble, Scorer
from cxrzero.prompts import LabelPrompts
from cxrzero.screener import Screener


@dataclass(frozen=True, slots=True)
class RunRecord:
    """What of a run's record decides its numbers; of a table without one nothing is known.

    Attributes:
        models: (name, fingerprint) of each.
        prompts: for each model, what was asked of it, label by label.
        thresholds: label → lowest probability that is a positive decision, where the run had a calibration.
        started: when, in ISO 8601; empty where nobody knows.
        pseudonymised: whether the table has pseudonyms for paths and UIDs.
    """

    models: tuple[tuple[str, str], ...] = ()
    prompts: tuple[tuple[LabelPrompts, ...], ...] = ()
    precision: str = "fp32"
    decode_options: DecodeOptions = field(default_factory=DecodeOptions)
    thresholds: Mapping[str, float] = field(default_factory=dict)
    calibration: str = ""
    started: str = ""
    version: str = ""
    pseudonymised: bool = False

    @classmethod
    def of(cls, manifest: Mapping[str, Any]) -> Self:
        """Read what `cxrzero.predict.manifest` wrote.

        Raises:
            ConfigError: it did not.
        """
        try:
            options = manifest["options"]
            models = tuple((str(each["name"]), str(each["fingerprint"])) for each in manifest["models"])
            calibration = manifest.get("calibration") or {}
            thresholds = {
                label: float(each["threshold"])
                for label, each in calibration.get("labels", {}).items()
                if each.get("threshold") is not None
            }
            return cls(
                models=models,
                prompts=tuple(_asked(manifest["prompts"], place) for place in range(len(models))),
                precision=str(manifest["precision"]),
                decode_options=DecodeOptions(invert=options["invert"], fast_side=options["fast_decode"] or None),
                thresholds=thresholds,
                calibration=str(calibration.get("worth", "")),
                started=str(manifest["started"]),
                version=str(manifest["cxrzero"]),
                pseudonymised=bool(options.get("pseudonymise")),
            )
        except (AttributeError, KeyError, TypeError, ValueError, IndexError) as error:
            raise ConfigError(f"the run's record is not as predict writes it: {type(error).__name__} {error}") from None

    def shared_prompts(self) -> tuple[LabelPrompts, ...]:
        """The prompts of the first model; those that other models were asked in other words count as templates."""
        return tuple(
            replace(first, is_from_model=any(other.record() != first.record() for other in others))
            for first, *others in zip(*self.prompts, strict=True)
        )


def _asked(prompts: Sequence[Mapping[str, Any]], place: int) -> tuple[LabelPrompts, ...]:
    """What was asked of one model of an ensemble: its own words, where it has some."""
    sides = [each if place == 0 or "others" not in each else each["others"][place - 1] for each in prompts]
    return tuple(
        LabelPrompts(str(each["label"]), tuple(map(str, side["positive"])), tuple(map(str, side["negative"])))
        for each, side in zip(prompts, sides, strict=True)
    )


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
