"""What objects of maps have in common, whether they are numbers or pictures."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydicom.dataset import Dataset

from cxrzero.dicom_out.objects import (
    NAME,
    NOT_A_DEVICE,
    Maker,
    add_dates,
    add_equipment,
    add_identity,
    add_series,
    derived_uid,
    new_object,
    referenced,
)
from cxrzero.dicom_out.source import Source
from cxrzero.dicom_out.tree import Code, code_of
from cxrzero.display.visible import visible
from cxrzero.images.dicom_file import text
from cxrzero.tables.record import RunRecord

SOURCE_IMAGE = Code("121322", "DCM", "Source image for image processing operation")
DESCRIPTION = f"{NAME} heatmaps, not a medical device"
A_MAP = "A map says where the model looked, not what is there."


@dataclass(frozen=True, slots=True)
class Mapped:
    """What a map is of, and what is known of it.

    Attributes:
        frame: 1-based, of the source.
        probability: of the finding.
        location: "validated", "not validated" or "never measured", of maps by this method.
        method: "patch", "attention" or "occlusion".
    """

    source: Source
    frame: int
    label: str
    probability: float
    location: str
    method: str

    @property
    def facts(self) -> list[Any]:
        """What tells it from other maps."""
        return [self.source.sop_instance, self.frame, self.label, self.probability, self.location, self.method]

    @property
    def words(self) -> str:
        """What to know before looking at it."""
        validated = "" if self.location == "validated" else f" Location not validated ({self.location})."
        return (
            f"{visible(self.label)}: probability {self.probability:.4f}, by {self.method}.{validated} {A_MAP} "
            f"{NOT_A_DEVICE}"
        )


def new_map(
    sop_class: str, series_number: int, mapped: Mapped, record: RunRecord, content: bytes, more: Sequence[Any] = ()
) -> Dataset:
    """An object of a map, as far as it needs no identity.

    Args:
        content: its pixels; with `more` facts it tells the object from others of the same film.
    """
    maker = Maker.of(record)
    digest = hashlib.sha256(content).hexdigest()
    uid = derived_uid("map", sop_class, maker.device, maker.versions, mapped.facts, digest, *more)
    made = new_object(sop_class, uid)
    series = derived_uid("maps", sop_class, mapped.source.study, maker.device, maker.versions)
    add_series(made, "OT", series, series_number, _number(mapped, record), DESCRIPTION)
    add_equipment(made, maker)
    return made


def _number(mapped: Mapped, record: RunRecord) -> int:
    """Of an object among those of its film: by frame, then by label in the order of the run."""
    labels = [prompt.label for prompt in record.prompts[0]]
    place = labels.index(mapped.label) if mapped.label in labels else len(labels)
    return (mapped.frame - 1) * (len(labels) + 1) + place + 1


def add_identity_of(made: Dataset, mapped: Mapped, record: RunRecord) -> None:
    """Whose film it is of, and when; the object must be complete but for that."""
    header = mapped.source.header
    if body_part := text(header, "BodyPartExamined"):
        made.BodyPartExamined = body_part
    else:
        made.Laterality = None
    add_dates(made, mapped.source, Maker.of(record))
    add_identity(made, mapped.source, is_ascii=mapped.words.isascii() and body_part.isascii())


def source_image(mapped: Mapped) -> Dataset:
    """Point to the film, or to the frame of it."""
    source = mapped.source
    item = referenced(source.sop_class, source.sop_instance, mapped.frame if source.n_frames > 1 else None)
    item.PurposeOfReferenceCodeSequence = [code_of(SOURCE_IMAGE)]
    return item
