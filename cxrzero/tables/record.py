"""How a table was made, by the run's record beside it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from cxrzero.errors import ConfigError
from cxrzero.images.radiograph import DecodeOptions
from cxrzero.model.model_json import TOGETHER
from cxrzero.prompts import LabelPrompts
from cxrzero.prompts.remarks import CHANCE


def read_manifest(predictions: Path) -> dict[str, Any] | None:
    """The run manifest beside a prediction table; None for someone else's table.

    Raises:
        ConfigError: there is one and it is not JSON.
    """
    path = predictions.with_name(predictions.stem.removesuffix(".studies") + ".run.json")
    if not path.is_file():
        return None
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        manifest = None
    if not isinstance(manifest, dict):
        raise ConfigError(f"{path}: the run manifest is not a JSON object; delete it or predict again")
    return manifest


@dataclass(frozen=True, slots=True)
class RunRecord:
    """What of a run's record decides its numbers; of a table without one nothing is known.

    Attributes:
        models: (name, fingerprint) of each.
        prompts: for each model, what was asked of it, label by label.
        together: place → sentences that are always asked along, of the models whose labels look at each other: beside
            others than these a label gets another number.
        thresholds: label → lowest probability that is a positive decision, where the run had a calibration.
        calibration: what that is worth, in words; calibration_sha256: of its file, empty without one.
        at_chance: label → what was said of it, where it was measured no better than chance.
        location: label → "validated", "not validated" or "never measured", of maps that point at it; empty in records
            of older versions.
        started: when, in ISO 8601; empty where nobody knows.
        pseudonymised: whether the table has pseudonyms for paths and UIDs.
    """

    models: tuple[tuple[str, str], ...] = ()
    prompts: tuple[tuple[LabelPrompts, ...], ...] = ()
    together: Mapping[int, frozenset[str]] = field(default_factory=dict)
    precision: str = "fp32"
    decode_options: DecodeOptions = field(default_factory=DecodeOptions)
    thresholds: Mapping[str, float] = field(default_factory=dict)
    calibration: str = ""
    calibration_sha256: str = ""
    at_chance: Mapping[str, str] = field(default_factory=dict)
    location: Mapping[str, str] = field(default_factory=dict)
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
                together=dict(_together(manifest)),
                precision=str(manifest["precision"]),
                decode_options=DecodeOptions(invert=options["invert"], fast_side=options["fast_decode"] or None),
                thresholds=thresholds,
                calibration=str(calibration.get("worth", "")),
                calibration_sha256=str(calibration.get("sha256", "")),
                at_chance=_at_chance(manifest.get("remarks", ())),
                location={str(label): str(words) for label, words in manifest.get("location", {}).items()},
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


def _at_chance(remarks: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Label → what was said of it; of an ensemble that of each model."""
    found: dict[str, list[str]] = {}
    for each in remarks:
        if each["code"] == CHANCE:
            found.setdefault(str(each["label"]), []).append(str(each["message"]))
    return {label: "; ".join(said) for label, said in found.items()}


def _together(manifest: Mapping[str, Any]) -> Iterator[tuple[int, frozenset[str]]]:
    for place, model in enumerate(manifest["models"]):
        scoring = model.get("scoring", manifest.get("scoring", {}))  # an ensemble's models have each its own
        if scoring.get("labels") == TOGETHER:
            yield place, frozenset(map(str, scoring.get("companions", ())))


def _asked(prompts: Sequence[Mapping[str, Any]], place: int) -> tuple[LabelPrompts, ...]:
    """What was asked of one model of an ensemble: its own words, where it has some."""
    sides = [each if place == 0 or "others" not in each else each["others"][place - 1] for each in prompts]
    return tuple(
        LabelPrompts(str(each["label"]), tuple(map(str, side["positive"])), tuple(map(str, side["negative"])))
        for each, side in zip(prompts, sides, strict=True)
    )
