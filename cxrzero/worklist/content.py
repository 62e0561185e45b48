"""What a page knows of its films, as data for its script. A page for blind reading is given no score at all."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cxrzero.display.visible import visible
from cxrzero.images.flags import FLAGS
from cxrzero.worklist.names import Names
from cxrzero.worklist.reviews import Review
from cxrzero.worklist.table import Film

# Other films of a study that are not in the list; more are counted only.
MOST_BESIDE = 20


@dataclass(frozen=True, slots=True)
class Content:
    """What is shown.

    Attributes:
        films: in their order.
        faults: of each why it has no picture, "" where it has one.
        reasons: of each the label that gives it its place, "" for none.
        waited: places given to films that waited longest.
        beside: scored films of the same studies that are not shown.
        overlays: place → label → file of the overlay.
        chosen: the label that the order is by.
        is_blind: show neither scores nor names.
    """

    labels: tuple[str, ...]
    films: Sequence[Film]
    faults: Sequence[str]
    names: Names
    reasons: Sequence[str] = ()
    waited: frozenset[int] = frozenset()
    beside: Sequence[Film] = ()
    overlays: Mapping[int, Mapping[str, str]] = field(default_factory=dict)
    thresholds: Mapping[str, float] = field(default_factory=dict)
    reviews: Mapping[int, Review] = field(default_factory=dict)
    chosen: str | None = None
    is_blind: bool = False

    def as_dict(self) -> dict[str, Any]:
        """The data, for JSON."""
        studies = {study: number for number, study in enumerate(dict.fromkeys(film.study for film in self.films))}
        found = sorted({flag for film in self.films for flag in film.flags})
        return {
            "id": self._identity(),
            "labels": [visible(label) for label in self.labels],
            "columns": list(self.labels),
            "chosen": self.labels.index(self.chosen) if self.chosen else 0 if self.is_blind else None,
            "blind": self.is_blind,
            "thresholds": [] if self.is_blind else [self.thresholds.get(label) for label in self.labels],
            "flags": {flag: FLAGS.get(flag, "This version does not know this flag.") for flag in found},
            "beside": self._beside(studies),
            "films": [self._film(place, film, studies) for place, film in enumerate(self.films)],
            "reviews": {place: self._review(review) for place, review in self.reviews.items()},
        }

    def as_json(self) -> str:
        """The data in ASCII, with nothing in it that could end a script element."""
        text = json.dumps(self.as_dict(), ensure_ascii=True, allow_nan=False, separators=(",", ":"))
        for char in "<>&":
            text = text.replace(char, f"\\u{ord(char):04x}")
        return text

    def _identity(self) -> str:
        """Tells the drafts of one list from those of another; by nothing that pseudonyms hide."""
        listing = json.dumps([(self.names.path(film.path), film.frame) for film in self.films])
        return hashlib.sha256(listing.encode()).hexdigest()[:16]

    def _film(self, place: int, film: Film, studies: Mapping[str, int]) -> dict[str, Any]:
        names = self.names
        made: dict[str, Any] = {
            "path": names.path(film.path),
            "frame": film.frame,
            "uids": [names.uid(film.study), names.uid(film.series), names.uid(film.sop)],
            "study": studies[film.study] if film.study else None,
            "view": visible(" ".join(filter(None, (film.modality, film.view)))),
            "flags": [visible(flag) for flag in film.flags],
            "fault": visible(self.faults[place]),
        }
        if self.is_blind:
            return made
        made["shown"] = visible(made["path"])
        made["link"] = names.link(film.path)
        made["waited"] = place in self.waited
        made["reason"] = self.labels.index(self.reasons[place]) if self.reasons and self.reasons[place] else None
        made["overlays"] = {self.labels.index(label): file for label, file in self.overlays.get(place, {}).items()}
        made |= {("p" if kind == "probability" else kind): list(cells) for kind, cells in film.numbers.items()}
        return made

    def _beside(self, studies: Mapping[str, int]) -> dict[int, dict[str, Any]]:
        """Number of a study → its films that are not in the list."""
        found: dict[int, dict[str, Any]] = {}
        for film in self.beside:
            if film.study not in studies:
                continue
            entry = found.setdefault(studies[film.study], {"count": 0, "films": []})
            entry["count"] += 1
            if len(entry["films"]) < MOST_BESIDE and not self.is_blind:
                shown = visible(self.names.path(film.path))
                view = visible(" ".join(filter(None, (film.modality, film.view))))
                entry["films"].append(
                    {"shown": shown, "frame": film.frame, "view": view, "link": self.names.link(film.path)}
                )
        return found

    def _review(self, review: Review) -> dict[str, Any]:
        verdicts = {self.labels.index(label): verdict for label, verdict in review.verdicts.items()}
        return {"verdicts": verdicts, "comment": review.comment, "reviewer": review.reviewer}
