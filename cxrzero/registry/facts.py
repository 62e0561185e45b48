"""What `models info` shows: what is known of a model, as facts in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from cxrzero.calibration.file import read_calibration
from cxrzero.calibration.worth import worth, worth_of_labels
from cxrzero.cards.card import UNVERIFIED, Card
from cxrzero.display.counts import counted
from cxrzero.errors import ConfigError
from cxrzero.model.bundle import Bundle
from cxrzero.model.model_json import CALIBRATION
from cxrzero.prompts.location import read_location
from cxrzero.prompts.measured import list_at_chance

# Keys of model.json that are no facts of their own, or that are told in their own way below.
TOLD_BELOW = ("schema_version", "name", "files", "results", "at_chance", "location", "training_data", "provenance")
# Digits of a measured value (more than its interval deserves already), and of any other number that is no whole one.
DIGITS, OF_OTHERS = 3, 6


class Fact(NamedTuple):
    """One fact.

    Attributes:
        source: where it is stated; empty for a bundle, whose model.json is the source.
        part: heading of the part that it belongs to; empty before the first one.
    """

    name: str
    value: str
    source: str = ""
    part: str = ""


def facts_of_card(card: Card) -> Iterator[Fact]:
    """Everything that a card knows or does not."""
    for key, fact in card.facts.items():
        yield Fact(key, UNVERIFIED) if fact is None else Fact(key, in_words(fact.value), fact.source)
    if card.repository:
        yield Fact("repository", f"hf-hub:{card.repository}", card.page or "")
        yield Fact("revision", card.revision or UNVERIFIED)
    for file in card.files:
        size = f"{file.size:,} bytes" if file.size is not None else f"size {UNVERIFIED}"
        yield Fact(f"file {file.name}", f"sha256 {file.sha256 or UNVERIFIED}, {size}", file.source, "Files")
    for note in card.notes:
        yield Fact("Note", note, part="Notes")


def facts_of_bundle(bundle: Bundle) -> Iterator[Fact]:
    """What the model.json of a bundle on this machine states."""
    card = bundle.card
    yield Fact("folder", str(bundle.path))
    yield Fact("fingerprint", bundle.fingerprint)
    for key, value in card.items():
        if key not in TOLD_BELOW:
            yield Fact(key, UNVERIFIED if value is None else in_words(value))
    if at_chance := list_at_chance(bundle):
        yield Fact("at chance", ", ".join(at_chance))
    yield from _training(card)
    yield from _calibration(bundle)
    for entry in read_location(card.get("location")):
        yield Fact(f"location of {entry.label}", str(entry), part="Where its maps point")
    yield from _results(card.get("results") or [])


def in_words(value: Any) -> str:
    """A value of JSON as a person writes it; model.json has all digits of a number."""
    if isinstance(value, Mapping):
        step = value.get("step")  # of preprocessing
        if isinstance(step, str):
            rest = in_words({key: value[key] for key in value if key != "step"})
            return f"{step} ({rest})" if rest else step
        return ", ".join(f"{key} {_inside(each)}" for key, each in value.items())
    if isinstance(value, list | tuple):
        return ("; " if any(isinstance(each, Mapping) for each in value) else ", ").join(map(in_words, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return str(float(f"{value:.{OF_OTHERS}g}"))
    return "none" if value is None else str(value)


def _inside(value: Any) -> str:
    """A value after its key."""
    if isinstance(value, list | tuple) and all(isinstance(each, str) for each in value):
        return " | ".join(f'"{each}"' for each in value) or "none"
    return f"({in_words(value)})" if isinstance(value, Mapping | list | tuple) else in_words(value)


def _training(card: Mapping[str, Any]) -> Iterator[Fact]:
    """What it was trained on, and how."""
    for key in ("training_data", "provenance"):
        value = card.get(key)
        if isinstance(value, list):
            yield from (Fact(key, _data(each), part="Training") for each in value)
        elif isinstance(value, Mapping):
            yield from (Fact(name, in_words(each), part="Training") for name, each in value.items())
        elif key in card:
            yield Fact(key, UNVERIFIED if value is None else in_words(value), part="Training")


def _data(source: Any) -> str:
    if not isinstance(source, Mapping) or not isinstance(source.get("images"), int):
        return in_words(source)
    rest = [in_words(source[key]) for key in source if key not in ("name", "images")]
    return f"{source.get('name', 'without a name')}: {'; '.join([counted(source['images'], 'image'), *rest])}"


def _calibration(bundle: Bundle) -> Iterator[Fact]:
    if CALIBRATION not in bundle.files:
        return
    part = "Calibration"
    try:
        calibration = read_calibration(bundle.file(CALIBRATION))
    except ConfigError as error:
        yield Fact("calibration", f"damaged: {error}", part=part)
        return
    yield Fact("calibration", worth(calibration), part=part)
    for label, sentence in worth_of_labels(calibration):
        yield Fact(f"calibration of {label}", sentence, part=part)


def _results(results: Sequence[Any]) -> Iterator[Fact]:
    """What was measured; the command that measured all of it once."""
    part = "Results"
    if not results:
        yield Fact("results", UNVERIFIED, part=part)
    commands = {each.get("command") if isinstance(each, Mapping) else None for each in results}
    shared = commands.pop() if len(commands) == 1 else None
    if shared:
        yield Fact("measured by", in_words(shared), part=part)
    for each in results:
        name, value = _result({key: each[key] for key in each if key != "command"} if shared else each)
        yield Fact(name, value, part=part)


def _result(result: Any) -> tuple[str, str]:
    """An entry of `results` as name and value; as it stands where it is not what docs/models.md says."""
    numbers = ("value", "low", "high")
    if not isinstance(result, Mapping) or not isinstance(result.get("value"), int | float):
        return "result", in_words(result)
    value, low, high = (result.get(key) for key in numbers)
    told = f"{result.get('metric', 'value')} {value:.{DIGITS}f}"
    if isinstance(low, int | float) and isinstance(high, int | float):
        told += f" ({low:.{DIGITS}f} to {high:.{DIGITS}f})"
    if isinstance(result.get("n"), int):
        told += f" of {counted(result['n'], 'film')}"
    if isinstance(result.get("positives"), int):
        told += f", {result['positives']:,} with it"
    rest = {key: result[key] for key in result if key not in (*numbers, "metric", "n", "positives", "dataset", "label")}
    if baselines := rest.pop("baselines", None):
        told += f"; beside it {in_words(baselines)}"
    if rest:
        told += f"; {in_words(rest)}"
    return f"{result.get('label', 'result')} in {result.get('dataset', 'an unnamed set')}", told
