"""What `cxrzero train --check` prints."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cxrzero.train.checking import Check
    from cxrzero.train.checkpage import Seen

SHOWN = 3  # images or lines that are named
LINE = ", line "  # in where a row of a table stands


def check_lines(found: Check, seen: Sequence[Seen]) -> Iterator[str]:
    """The check as lines for a terminal."""
    kept_together = {"source": "as the source says", "": "none held out: pass --val-fraction 0.05"}
    split = kept_together.get(found.split_by, f"by {found.split_by}")
    yield f"{found.source}: read as {found.layout}"
    yield f"  images       {found.images:,}: {found.training:,} training, {found.validation:,} validation ({split})"
    yield f"  texts        {found.texts:,} different, from {_counts(found.sections) or 'nothing'}"
    if found.tokens:
        quantiles = found.tokens
        yield (
            f"  tokens       median {quantiles['p50']}, 99% up to {quantiles['p99']}, longest {quantiles['p100']}; "
            f"the model reads {found.context_length}: {found.cut_texts:,} texts are cut"
        )
    if found.encodings:
        yield f"  encodings    {_counts(found.encodings)}"
    yield from (f"  passed over  {count:,} {what}" for what, count in found.passed_over.items())
    notes = {
        "reports or texts that say nothing under the text rule, left out": len(found.silent_reports),
        "of these, texts that are missing (blank, '-', '#N/A', 'todo' and the like)": found.missing_texts,
        "image files that do not exist": len(found.missing),
        "reports that cannot be read": len(found.unreadable_reports),
        "images that cannot be read": len(found.unreadable_images),
        "images that are the same picture as another": sum(map(len, found.duplicate_images)),
        "pictures in both training and validation": found.duplicates_across,
        "images whose text another image has too": found.repeated_texts,
        "patients in both training and validation": found.shared_patients,
        "images whose patient is unknown": found.without_patient,
    }
    yield from (f"  {count:>11,}  {what}" for what, count in notes.items() if count)
    yield from _named("images that do not look like a chest X-ray", found.not_chest)
    yield from _named("images that look like a negative", found.inverted)
    yield from _identifying(found)
    if seen:
        yield f"  {len(seen)} training images with their texts are on the page, not here: terminals are logged."
    yield from (line for obstacle in found.obstacles for line in obstacle.split("\n"))
    yield "Trainable." if found.trainable else "Not trainable as it is."


def _identifying(found: Check) -> Iterator[str]:
    """How many texts probably name somebody, and where; never what they say."""
    for kind, places in found.identifying.items():
        lines = [where.rpartition(LINE)[2] for where in places if LINE in where]
        more = ", …" if len(lines) > SHOWN else ""
        at = f" (line{'s' if len(lines) > 1 else ''} {', '.join(lines[:SHOWN])}{more})" if lines else ""
        yield f"  {len(places):>11,}  texts with probable {kind}{at}"
    if found.identifying:
        yield "  Weights can memorise what they were trained on: take such words out of the texts; see docs/train.md."


def _named(what: str, images: Sequence[str]) -> Iterator[str]:
    if images:
        more = f", and {len(images) - SHOWN:,} more" if len(images) > SHOWN else ""
        yield f"  {len(images):>11,}  {what}: {', '.join(images[:SHOWN])}{more}"


def _counts(counted: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in sorted(counted.items(), key=lambda item: -item[1]))
