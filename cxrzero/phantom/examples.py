"""The phantoms of the examples folder, as PNG and DICOM files with their labels."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from cxrzero.files import write_whole
from cxrzero.phantom.dicom import Modality, Photometric, TransferSyntax, write_dicom
from cxrzero.phantom.draw import Phantom, draw
from cxrzero.phantom.findings import Finding

LABEL_COLUMNS = ("lung opacity", "pneumonia", "pleural effusion", "cardiomegaly", "pneumothorax")


@dataclass(frozen=True)
class Storage:
    """How an example is stored as DICOM; the fields are `write_dicom`'s."""

    photometric: Photometric = "MONOCHROME2"
    bits_stored: int = 12
    transfer_syntax: TransferSyntax = "explicit"
    modality: Modality = "DX"


@dataclass(frozen=True)
class Example:
    """One file of the folder: what is drawn, and how it is stored (`storage` None means an 8-bit PNG)."""

    name: str
    seed: int
    findings: tuple[Finding, ...] = ()
    size: tuple[int, int] = (512, 512)
    storage: Storage | None = field(default=None)

    def draw(self) -> Phantom:
        return draw(self.seed, self.size, self.findings)


EXAMPLES = (
    Example("normal.png", 4),
    Example("effusion_left.png", 20, (Finding("pleural effusion", "left", severity=0.45),)),
    Example("opacity_right.png", 41, (Finding("pneumonia", "right", "lower", 0.6),)),
    Example("cardiomegaly.png", 24, (Finding("cardiomegaly", severity=0.6),)),
    Example("pneumothorax_left.png", 25, (Finding("pneumothorax", "left", severity=0.45),)),
    Example(
        "effusion_right_monochrome1.dcm",
        21,
        (Finding("pleural effusion", "right", severity=0.55),),
        storage=Storage(photometric="MONOCHROME1", modality="CR"),
    ),
    Example(
        "opacity_left_jpeg2000.dcm",
        23,
        (Finding("pneumonia", "left", "upper", 0.7),),
        storage=Storage(transfer_syntax="jpeg2000"),
    ),
    Example("normal_16bit.dcm", 3, size=(512, 448), storage=Storage(bits_stored=16)),
)


def write_examples(folder: str | Path) -> None:
    """Write every example and labels.csv (path, then one 0/1 column per label) into a folder; make it if needed."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    labels = io.StringIO()
    table = csv.writer(labels, lineterminator="\n")
    table.writerow(("path", *LABEL_COLUMNS))
    for example in EXAMPLES:
        phantom = example.draw()
        write_example(folder / example.name, example, phantom)
        table.writerow((example.name, *(int(phantom.labels[label]) for label in LABEL_COLUMNS)))
    write_whole(folder / "labels.csv", labels.getvalue())


def write_example(path: Path, example: Example, phantom: Phantom) -> None:
    """Store one drawn example."""
    storage = example.storage
    if storage is None:
        Image.fromarray(phantom.to_uint8()).save(path, optimize=True)
        return
    write_dicom(
        path,
        phantom,
        photometric=storage.photometric,
        bits_stored=storage.bits_stored,
        transfer_syntax=storage.transfer_syntax,
        modality=storage.modality,
    )
