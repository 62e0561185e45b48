"""What `cxrzero train --check` prints."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from cxrzero.display.counts import counted

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
    parts = f"{found.training:,} for training, {found.validation:,} for validation"
    yield f"  images       {found.images:,}: {parts} ({split})"
    yield f"  texts        {found.texts:,} different, from: {_counts(found.sections) or 'nothing'}"
    if found.tokens:
        quantiles = found.tokens
        cut = counted(found.cut_texts, "text is", "texts are") if found.cut_texts else "none is"
        yield (
            f"  tokens       median {quantiles['p50']}, 99% up to {quantiles['p99']}, longest {quantiles['p100']}; "
            f"the model reads {found.context_length}, so {cut} cut"
        )
    if found.encodings:
        yield f"  encodings    {_counts(found.encodings)}"
    yield from (f"  passed over  {what}: {count:,}" for what, count in found.passed_over.items())
    # count, what follows 1, and what follows other numbers
    notes = (
        (
            len(found.silent_reports),
            "report or text says",
            "reports or texts say",
            " nothing under the text rule: left out",
        ),
        (found.missing_texts, "of these is", "of these are", " missing (blank, '-', '#N/A', 'todo' and the like)"),
        (len(found.missing), "image file does", "image files do", " not exist"),
        (len(found.unreadable_reports), "report", "reports", " cannot be read"),
        (len(found.unreadable_images), "image", "images", " cannot be read"),
        (sum(map(len, found.duplicate_images)), "image is", "images are", " the same picture as another"),
        (found.duplicates_across, "picture is", "pictures are", " in both training and validation"),
        (found.repeated_texts, "image has", "images have", " a text that another image has, too"),
        (found.shared_patients, "patient is", "patients are", " in both training and validation"),
        (found.without_patient, "image is", "images are", " of an unknown patient"),
    )
    yield from (_note(count, one + rest, several + rest) for count, one, several, rest in notes if count)
    yield from _named(
        found.not_chest, "image does not look like a chest X-ray", "images do not look like a chest X-ray"
    )
    yield from _named(found.inverted, "image looks like a negative", "images look like a negative")
    yield from _identifying(found)
    if seen:
        images = counted(len(seen), "training image is", "training images are")
        yield f"  {images} on the page with their texts, and not shown here, because terminals are often logged."
    yield from (line for obstacle in found.obstacles for line in obstacle.split("\n"))
    yield "This can be trained on." if found.trainable else "This cannot be trained on as it is."


def _note(count: int, one: str, several: str) -> str:
    return f"  {count:>11,}  {one if count == 1 else several}"


def _identifying(found: Check) -> Iterator[str]:
    """How many texts probably name somebody, and where; never what they say."""
    for kind, places in found.identifying.items():
        lines = [where.rpartition(LINE)[2] for where in places if LINE in where]
        more = ", …" if len(lines) > SHOWN else ""
        at = f" ({'lines' if len(lines) > 1 else 'line'} {', '.join(lines[:SHOWN])}{more})" if lines else ""
        yield _note(len(places), f"text probably has {kind}{at}", f"texts probably have {kind}{at}")
    if found.identifying:
        yield "  Weights can memorise what they were trained on. Take such words out of the texts; see docs/train.md."


def _named(images: Sequence[str], one: str, several: str) -> Iterator[str]:
    if images:
        more = f", and {len(images) - SHOWN:,} more" if len(images) > SHOWN else ""
        yield f"{_note(len(images), one, several)}: {', '.join(images[:SHOWN])}{more}"


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} ({count:,})" for name, count in sorted(counts.items(), key=lambda item: -item[1]))
