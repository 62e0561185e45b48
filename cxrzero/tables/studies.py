"""The study-level table of `--by study`: one row per study, its frontal views aggregated.

What this module does not know: pictures. It sees finished rows, and keeps a few numbers per study.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from cxrzero.choices import Aggregate
from cxrzero.display.counts import counted
from cxrzero.prediction import Cell, Prediction, printable_path

# Scored, but not a separate frontal view of this chest: it would blur what the frontal views say.
LEFT_OUT = ("lateral", "body_part_not_chest", "maybe_not_chest_xray", "for_processing")

# In a database a label may have been asked of other films only.
NOT_ASKED = "not_asked"

STUDY_COLUMNS: dict[str, type] = {
    "study": str,
    "study_instance_uid": str,
    "images_used": int,
    "images_left_out": int,
    "left_out_reasons": str,
}


# Of the 3,747 studies with images in Indiana University's chest collection 3,208 have two, 15 four, and one has five.
MOST_IMAGES = 5


@dataclass(slots=True)
class _Study:
    uid: str
    folder: str
    total: npt.NDArray[np.float64]
    used: int = 0
    images: int = 0
    left_out: Counter[str] = field(default_factory=Counter)


class Studies:
    """Collects rows by Study Instance UID, else by the file's folder.

    Args:
        labels: the label columns.
        aggregate: "mean" or "max" of the probabilities of the images used.
    """

    def __init__(self, labels: Sequence[str], aggregate: Aggregate = "mean") -> None:
        self.columns = {**STUDY_COLUMNS, **dict.fromkeys(labels, float)}
        self._labels = tuple(labels)
        self._asked = frozenset(labels)
        self._aggregate = aggregate
        self._studies: dict[str, _Study] = {}
        self._uids_in: defaultdict[str, set[str]] = defaultdict(set)

    def add(self, row: Prediction) -> None:
        """Count a row in; failed, skipped and non-frontal images are counted with their reason."""
        folder = printable_path(os.path.dirname(row.path)) or "."
        key = row.facts.study_instance_uid or folder
        study = self._studies.get(key)
        if study is None:
            study = self._studies[key] = _Study(row.facts.study_instance_uid, folder, np.zeros(len(self._labels)))
        study.images += row.status == "ok"
        if study.uid:
            self._uids_in[folder].add(study.uid)
        reason = _reason(row) or ("" if self._asked <= row.scores.keys() else NOT_ASKED)
        if reason:
            study.left_out[reason] += 1
            return
        scores = np.array([row.scores[label] for label in self._labels])
        study.total = study.total + scores if self._aggregate == "mean" else np.maximum(study.total, scores)
        study.used += 1

    def rows(self) -> Iterator[dict[str, Cell]]:
        """One row per study in the order of first appearance; no probability where no image was used."""
        for key, study in self._studies.items():
            row: dict[str, Cell] = {
                "study": key,
                "study_instance_uid": study.uid,
                "images_used": study.used,
                "images_left_out": study.left_out.total(),
                "left_out_reasons": ";".join(f"{reason}:{n}" for reason, n in sorted(study.left_out.items())),
            }
            divisor = study.used if self._aggregate == "mean" else 1
            for label, total in zip(self._labels, study.total, strict=True):
                row[label] = float(total) / divisor if study.used else None
            yield row

    def summary(self) -> StudySummary:
        """What was joined, and what of it is probably not one study."""
        studies = [study for study in self._studies.values() if study.images]
        by_folder = [study for study in studies if not study.uid]
        shared = [len(uids) for study in by_folder if (uids := self._uids_in.get(study.folder))]
        large = {has_uid: [s.images for s in studies if bool(s.uid) is has_uid and s.images > MOST_IMAGES]
                 for has_uid in (False, True)}  # fmt: skip
        return StudySummary(
            studies=len(studies),
            folders=len(by_folder),
            images_by_folder=sum(study.images for study in by_folder),
            large_folders=len(large[False]),
            large_uids=len(large[True]),
            most_images=max((study.images for study in studies), default=0),
            shared_folders=len(shared),
            studies_beside=sum(shared),
        )


@dataclass(frozen=True, slots=True)
class StudySummary:
    """Counts over studies with a scored image; for the run's record and its last words.

    Attributes:
        studies: all of them.
        folders, images_by_folder: folders that stand for a study because their files have no UID; their images.
        large_folders, large_uids: folders, and Study Instance UIDs, with more than MOST_IMAGES images.
        most_images: of one study.
        shared_folders, studies_beside: folders that stand for a study while files of others, which have UIDs, lie in
            them; how many others.
    """

    studies: int
    folders: int
    images_by_folder: int
    large_folders: int
    large_uids: int
    most_images: int
    shared_folders: int
    studies_beside: int

    def warnings(self) -> list[str]:
        """What should be looked at before the table of studies is used, and how it is avoided; no names, no UIDs."""
        said = []
        avoid = "Put the files of each study into a folder of its own, or use --by image."
        if self.large_folders:
            said.append(
                f"{counted(self.large_folders, 'folder')} with more than {MOST_IMAGES} images without a Study Instance "
                f"UID became one study each: probably several patients were averaged. {avoid}"
            )
        if self.shared_folders:
            said.append(
                f"Files without a Study Instance UID lie beside files of {counted(self.studies_beside, 'study')} with "
                f"one, in {counted(self.shared_folders, 'folder')}, and became one study of each folder. {avoid}"
            )
        if self.large_uids:
            said.append(
                f"{counted(self.large_uids, 'Study Instance UID')} with more than {MOST_IMAGES} images: films of "
                "several studies may have been given the same UID. Look at these studies, or use --by image."
            )
        return said


def _reason(row: Prediction) -> str:
    if row.status != "ok":
        return f"{row.status}_{row.code}"
    return next((flag for flag in LEFT_OUT if flag in row.flags), "")
