"""What `models list` shows, as plain data."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cxrzero.cards.card import UNVERIFIED, Card, iter_cards
from cxrzero.model.bundle import bundled_folder
from cxrzero.model.model_json import CALIBRATION, FILES_OF_SCHEMA_3
from cxrzero.registry.byhand import can_pull
from cxrzero.registry.folder import installed

# What is said below the list. Every command that asks a model runs a bundle, which needs none of these.
NEEDS = (
    "Type a name after --model. What is here needs nothing else installed: predict, search, heatmap, worklist and eval "
    "work with it.",
    "A model to pull is fetched by cxrzero models pull NAME; of one to fetch by hand that command says which files.",
    "models pull and models import need pip install 'cxrzero[torch]' (a text tower or a folder of Hugging Face: "
    "'cxrzero[hf]'), and train needs 'cxrzero[torch]'. Encoders of your own (models import --onnx) need "
    "'cxrzero[onnx]'.",
)


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


def _where(card: Card, count: int) -> str:
    if card.bundled:
        return "comes with cxrzero"
    if card.ensemble and count:
        return "here" if count == len(card.files) else f"{count} of {len(card.files)} here"
    if count:
        return "here"
    return "to pull" if can_pull(card) else "to fetch by hand"


def _licence(folder: Path) -> str:
    try:
        licence = json.loads((folder / "model.json").read_text(encoding="utf-8")).get("license")
    except (OSError, ValueError, AttributeError):
        return "damaged: see cxrzero models verify"
    return str(licence) if licence else UNVERIFIED


def _disk_size(folder: Path) -> int:
    paths = (folder / name for name in (*FILES_OF_SCHEMA_3, CALIBRATION))
    return sum(path.stat().st_size for path in paths if path.is_file())


def _size(size: int | None, card: Card | None = None) -> str:
    if size:
        return f"{size / 1e6:,.1f} MB"
    stated = card.facts.get("download") if card else None
    return str(stated.value) if stated else UNVERIFIED
