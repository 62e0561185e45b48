"""What to do where a model is not here: the command that fetches it, or which files to fetch by hand and then what."""

from __future__ import annotations

from urllib.parse import quote

from cxrzero.cards.card import UNVERIFIED, Card, KnownFile
from cxrzero.registry.hub import HOST


def how_to_get(card: Card) -> str:
    """One sentence: the command to run next."""
    if can_pull(card):
        return f"Fetch it with: cxrzero models pull {card.name}"
    return f"It has to be fetched by hand; cxrzero models pull {card.name} says which files, and how to import them"


def can_pull(card: Card, *, login: bool = False) -> bool:
    """Whether its files can be fetched: not from Google Drive, and from behind gated terms only with a login."""
    return bool(card.repository and card.files) and not card.bundled and (login or not card.licence.gated)


def by_hand(card: Card) -> tuple[str, ...]:
    """Lines that say exactly which files to fetch with a browser or on another machine, and the import command."""
    folder = f"{card.name}-files"
    single = len(card.files) == 1
    source = f"{folder}/{card.files[0].name}" if single else folder
    # a folder with a configuration says itself what it is
    is_layout = card.import_facts.preprocess == "layout"
    lineage = f" --as {card.name}" if single or card.ensemble or is_layout else ""
    name = "" if card.ensemble else f" --name {card.name}"
    return (
        f"Fetch by hand, from {card.page}:",
        *(f"  {_describe(card, file)}" for file in card.files),
        f"Put them into a folder on this machine, for example {folder}, then run:",
        f"  cxrzero models import {source}{lineage}{name}",
        *(f"Note: {note}" for note in card.notes),
    )


def _describe(card: Card, file: KnownFile) -> str:
    size = f"{file.size:,} bytes" if file.size is not None else f"size {UNVERIFIED}"
    return f"{_address(card, file)} ({size}, sha256 {file.sha256 or UNVERIFIED})"


def _address(card: Card, file: KnownFile) -> str:
    if not card.repository:
        return f"{file.name}, of {file.source}" if file.source.startswith(HOST) else file.name
    return f"{HOST}/{card.repository}/resolve/{card.revision or 'main'}/{quote(file.name)}"
