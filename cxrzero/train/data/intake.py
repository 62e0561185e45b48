"""What was found while a source was read, and what of it stops a training."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from cxrzero.display.counts import counted
from cxrzero.display.visible import visible
from cxrzero.train.data.reports import is_missing

SHOWN = 20  # file names that a message lists before it only counts


@dataclass
class Intake:
    """The account of one source.

    Attributes:
        source, layout: what was read, and as what.
        rows: records that the source states.
        sections: which section of a report became the text → reports; "text" = given as text.
        encodings: encoding of report files → files.
        counts: what was passed over, in words → how often.
        silent: where reports or texts stand that say nothing under the text rule; their images are left out.
        missing_texts: of these, how many are only a sign that there is none: blank, "-", "#N/A", "todo".
        missing: image files that do not exist.
        problems: reports that cannot be read, with the reason.
        shared_patients: patients that are both in train and in val.
        stated: (T,) where each text of the pairs is said first.
        split_by: who is kept together: "source" (it states the split), "patient", "study" or "image"; "" = no split.
    """

    source: str
    layout: str
    rows: int
    sections: Counter[str] = field(default_factory=Counter)
    encodings: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    silent: list[str] = field(default_factory=list)
    missing_texts: int = 0
    missing: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    shared_patients: list[str] = field(default_factory=list)
    stated: list[str] = field(default_factory=list)
    split_by: str = ""

    def leave_out(self, where: str, said: str) -> None:
        """Note a report or text that says nothing."""
        self.silent.append(where)
        self.missing_texts += is_missing(said)

    def summary(self, images: int, validation: int) -> str:
        """One line: what was read as what, and what was left out.

        Args:
            images, validation: that there are in all, and of these for validation.
        """
        sections = ", ".join(f"{name} ({count:,})" for name, count in self.sections.most_common())
        parts = [
            f"Read {self.source} as {self.layout}: {counted(images, 'image')}, {validation:,} of them for validation"
        ]
        parts += [f"texts from: {sections}"] if set(self.sections) - {"text"} else []
        other = {name: count for name, count in self.encodings.items() if name != "utf-8"}
        parts += [f"{counted(count, 'report file')} in {name}" for name, count in other.items()]
        parts += [f"{what}: {count:,}" for what, count in self.counts.items() if count]
        gone, left_out = self.missing_texts, len(self.missing) + len(self.problems)
        signs = "(blank, '-', '#N/A', 'todo' and the like)"
        parts += [f"left out {counted(gone, 'missing text')} {signs}"] if gone else []
        parts += [f"left out {counted(left_out, 'image or report', 'images or reports')} missing or unreadable"] * bool(
            left_out
        )
        return "; ".join(parts)

    def obstacles(self, training: int, skip_unreadable: bool) -> list[str]:
        """Why these pairs cannot be trained on, each with what to do; none if they can.

        Args:
            training: images for training.
            skip_unreadable: go on without images and reports that are missing or cannot be read.
        """
        found = []
        skip = "Correct the paths (relative ones start at --image-root), or leave these out with --skip-unreadable."
        if self.missing and not skip_unreadable:
            count = len(self.missing)
            what = f"{self.source} names {counted(count, 'image file that does', 'image files that do')} not exist:"
            found.append(paragraph(what, *listed(self.missing), skip))
        if self.problems and not skip_unreadable:
            what = f"{self.source}: {counted(len(self.problems), 'report')} cannot be read:"
            found.append(paragraph(what, *listed(self.problems), skip))
        if training < 2:
            silent = f" ({counted(len(self.silent), 'report says', 'reports say')} nothing)" if self.silent else ""
            images = counted(training, "training image")
            found.append(paragraph(f"{self.source} has {images}{silent}; contrastive training needs at least two"))
        if self.shared_patients:
            patients = counted(len(self.shared_patients), "patient is", "patients are")
            found.append(paragraph(f"{self.source}: {patients} in both train and val; keep each patient in one split"))
        return found


def listed(lines: Sequence[str], where: str = "; --check writes all into check.json") -> list[str]:
    """The first of them, and how many more there are, and where; indented."""
    more = [f"  and {len(lines) - SHOWN} more{where}"] if len(lines) > SHOWN else []
    return [f"  {line}" for line in lines[:SHOWN]] + more


def paragraph(*lines: str) -> str:
    """Lines as one text, whose line ends are none of a file's name."""
    return "\n".join(map(visible, lines))
