"""Invented sentences in the form of the books of MedKLIP and MAVL, whose own are their authors'."""

from __future__ import annotations

import json

from cxrzero.convert.published.book import DESCRIPTIONS, FINDINGS
from cxrzero.convert.published.mavl import ASPECTS

PARTS = ("border", "fluid", "location", "opacity", "other", "patterns", "shape", "texture")


def descriptions():
    """Finding → a sentence; one is longer than the 64 tokens that are read, as some of the authors' aspects are."""
    said = {finding: f"{finding} {number} is no lung of its own." for number, finding in enumerate(FINDINGS)}
    return said | {"effusion": "pleural " * 70 + "effusion"}


def aspects():
    """Finding → eight sentences."""
    return {finding: [f"{part} of {finding} is seen" for part in PARTS] for finding in reversed(FINDINGS)}


def write_books(folder):
    """Both files, by the names that they have in the authors' code."""
    (folder / DESCRIPTIONS).write_text(json.dumps(descriptions()), "utf-8")
    (folder / ASPECTS).write_text(json.dumps(aspects()), "utf-8")
