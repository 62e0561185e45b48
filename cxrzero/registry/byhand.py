"""What to do where a model is not here: the command that fetches it, or which files to fetch by hand and then what."""

from __future__ import annotations

from cxrzero.cards.card import UNVERIFIED, Card, KnownFile


def how_to_get(card: Card) -> str:
    """One sentence: the command to run next."""
    if can_pull(card):
        return f"Fetch it with: cxrzero models pull {card.name}"
    return f"It has to be fetched by hand; cxrzero models pull {card.name} says which files, and how to import them"


def can_pull(card: Card) -> bool:
    """Whether its files can be fetched without a login: not from Google Drive, not behind gated terms."""
    return not card.bundled and not card.licence.gated and bool(card.files) and all(file.url for file in card.files)


def by_hand(card: Card) -> tuple[str, ...]:
    """Lines that say exactly which files to fetch with a browser or on another machine, and the import command."""
    folder = f"{card.name}-files"
    single = len(card.files) == 1
    source = f"{folder}/{card.files[0].name}" if single else folder
    # a folder with a configuration says itself what it is
    lineage = f" --as {card.name}" if single or card.ensemble else ""
    name = "" if card.ensemble else f" --name {card.name}"
    return (
        f"Fetch by hand, from {card.page}:",
        *(f"  {_describe(file)}" for file in card.files),
        f"Put them into a folder on this machine, for example {folder}, then run:",
        f"  cxrzero models import {source}{lineage}{name}",
        *(f"Note: {note}" for note in card.notes),
    )


def _describe(file: KnownFile) -> str:
    size = f"{file.size:,} bytes" if file.size is not None else f"size {UNVERIFIED}"
    return f"{file.url or file.name} ({size}, sha256 {file.sha256 or UNVERIFIED})"
