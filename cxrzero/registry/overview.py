"""What `models list` and `models info` show, as plain data."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cxrzero.calibration.file import read_calibration
from cxrzero.calibration.worth import worth, worth_of_labels
from cxrzero.cards.card import UNVERIFIED, Card, iter_cards
from cxrzero.errors import ConfigError
from cxrzero.model.bundle import Bundle, bundled_folder
from cxrzero.model.model_json import CALIBRATION, FILES_OF_SCHEMA_2
from cxrzero.prompts.location import read_location
from cxrzero.prompts.measured import list_at_chance
from cxrzero.registry.byhand import can_pull
from cxrzero.registry.folder import installed


@dataclass(frozen=True, slots=True)
class Row:
    """One line of `models list`."""

    name: str
    what: str
    where: str
    licence: str
    size: str


def rows() -> Iterator[Row]:
    """Known models by name, then what else is in the user's models folder."""
    here = dict(installed())
    for card in iter_cards():
        mine = {name: path for name, path in here.items() if name == card.name or name.startswith(f"{card.name}/")}
        size = _disk_size(bundled_folder() / card.name) if card.bundled else sum(map(_disk_size, mine.values()))
        yield Row(card.name, card.title, _where(card, len(mine)), str(card.licence), _size(size or card.size, card))
        here = {name: path for name, path in here.items() if name not in mine}
    for name, path in here.items():
        yield Row(name, "imported", "here", _licence(path), _size(_disk_size(path)))


def card_lines(card: Card) -> Iterator[tuple[str, str, str]]:
    """(fact, value, source) of everything that a card knows or does not."""
    for key, fact in card.facts.items():
        yield (key, UNVERIFIED, "") if fact is None else (key, _text(fact.value), fact.source)
    if card.repository:
        yield "repository", f"hf-hub:{card.repository}", card.page or ""
        yield "revision", card.revision or UNVERIFIED, ""
    for file in card.files:
        size = f"{file.size:,} bytes" if file.size is not None else f"size {UNVERIFIED}"
        yield f"file {file.name}", f"sha256 {file.sha256 or UNVERIFIED}, {size}", file.source


def bundle_lines(bundle: Bundle) -> Iterator[tuple[str, str]]:
    """(fact, value) of a bundle on this machine, from its model.json."""
    yield "folder", str(bundle.path)
    yield "fingerprint", bundle.fingerprint
    for key, value in bundle.card.items():
        if key not in ("schema_version", "name", "files", "results", "at_chance", "location"):
            yield key, UNVERIFIED if value is None else _text(value)
    yield from _calibration_lines(bundle)
    if at_chance := list_at_chance(bundle):
        yield "at chance", ", ".join(at_chance)
    for entry in read_location(bundle.card.get("location")):
        yield f"location of {entry.label}", str(entry)
    results = bundle.card.get("results") or []
    if not results:
        yield "results", UNVERIFIED
    for result in results:
        yield "result", _text(result)


def _calibration_lines(bundle: Bundle) -> Iterator[tuple[str, str]]:
    if CALIBRATION not in bundle.files:
        return
    try:
        calibration = read_calibration(bundle.file(CALIBRATION))
    except ConfigError as error:
        yield "calibration", f"damaged: {error}"
        return
    yield "calibration", worth(calibration)
    for label, sentence in worth_of_labels(calibration):
        yield f"calibration of {label}", sentence


def _where(card: Card, count: int) -> str:
    if card.bundled:
        return "comes with cxrzero"
    if card.ensemble and count:
        return "here" if count == len(card.files) else f"{count} of {len(card.files)} here"
    if count:
        return "here"
    return f"cxrzero models pull {card.name}" if can_pull(card) else f"by hand: models pull {card.name} says how"


def _licence(folder: Path) -> str:
    try:
        licence = json.loads((folder / "model.json").read_text(encoding="utf-8")).get("license")
    except (OSError, ValueError, AttributeError):
        return "damaged: see cxrzero models verify"
    return str(licence) if licence else UNVERIFIED


def _disk_size(folder: Path) -> int:
    paths = (folder / name for name in (*FILES_OF_SCHEMA_2, CALIBRATION))
    return sum(path.stat().st_size for path in paths if path.is_file())


def _size(size: int | None, card: Card | None = None) -> str:
    if size:
        return f"{size / 1e6:,.1f} MB"
    stated = card.facts.get("download") if card else None
    return str(stated.value) if stated else UNVERIFIED


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
