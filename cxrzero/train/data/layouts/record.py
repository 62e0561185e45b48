"""What every layout gives."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Record:
    """One image with one text, as the source states it.

    Attributes:
        image: the image as the source names it.
        path: where it is.
        text: a text that is true of the image; None where there is a report instead.
        report: a radiology report, headers and line breaks as written; None where there is a text.
        where: where the source says this, for messages.
        patient, study, split, group, source: "" = not stated.
        weight: how often the pair is drawn relative to others.
        truth: how true the text is of the image, above 0 to 1; below 1 where labels are in doubt.
    """

    image: str
    path: Path
    text: str | None
    report: str | None
    where: str
    patient: str = ""
    study: str = ""
    split: str = ""
    group: str = ""
    source: str = ""
    weight: float = 1.0
    truth: float = 1.0


@dataclass
class Source:
    """A source while and after it is read.

    Attributes:
        path: what the user named.
        layout: how it was read.
        images: folder that image paths start from.
        records: in an order that is the same on every machine.
        problems: reports that cannot be read, each with its reason.
        encodings: number of report files in each encoding.
        counts: what was passed over, in words → how often.
    """

    path: Path
    layout: str
    images: Path
    records: list[Record] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    encodings: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
