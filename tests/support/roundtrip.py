"""Films on their way to an archive, and reports when they are there."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Mapping, Sequence
from io import BytesIO
from itertools import cycle, islice, product
from pathlib import Path
from typing import Any

from cxrzero.phantom import draw
from cxrzero.phantom.dicom import Modality, Photometric, TransferSyntax, write_dicom
from tests.support import needs
from tests.support.orthanc import Orthanc

# What storescu proposes, by the transfer syntax of the files.
PROPOSED: dict[TransferSyntax, str] = {
    "explicit": "-xe",
    "implicit": "-xi",
    "rle": "-xr",
    "jpeg2000": "-xv",
    "jpegls": "-xt",
    "jpeg-lossless": "-xs",
}
# Modality, photometric interpretation, bits; RLE has 8 of them.
KINDS: tuple[tuple[Modality, Photometric, int], ...] = (
    ("CR", "MONOCHROME1", 12),
    ("DX", "MONOCHROME2", 16),
    ("DX", "MONOCHROME1", 10),
    ("CR", "MONOCHROME2", 14),
)
LONGEST_S = 300.0  # that reports may take
CERTAINTY, SOURCE = "111012", "121112"


def phantoms(folder: Path, count: int, size: tuple[int, int]) -> dict[TransferSyntax, list[Path]]:
    """So many, each a study of its own: all transfer syntaxes, CR and DX, both photometric interpretations."""
    folder.mkdir()
    files: dict[TransferSyntax, list[Path]] = {}
    kinds = islice(cycle(product(KINDS, PROPOSED)), count)
    for seed, ((modality, photometric, bits), syntax) in enumerate(kinds):
        path = folder / f"{seed:04}.dcm"
        write_dicom(
            path,
            draw(seed, size),
            photometric=photometric,
            bits_stored=8 if syntax == "rle" else bits,
            transfer_syntax=syntax,
            modality=modality,
        )
        files.setdefault(syntax, []).append(path)
    return files


def send_to(archive: Orthanc, files: Mapping[TransferSyntax, Sequence[Path]]) -> None:
    """By dcmtk's storescu, each file as it is."""
    program = needs.program("storescu", "dcmtk")
    for syntax, paths in files.items():
        command = [program, PROPOSED[syntax], "-aec", archive.title, "127.0.0.1", str(archive.dicom_port)]
        subprocess.run([*command, *map(str, paths)], check=True, timeout=600)


def read_back(content: bytes) -> dict[str, dict[str, float]]:
    """A report as highdicom reads it: SOP Instance UID of the image → label → probability."""
    import highdicom

    found: dict[str, dict[str, float]] = {}
    report = highdicom.sr.srread(BytesIO(content))
    assert isinstance(report, highdicom.sr.Comprehensive3DSR)
    for group in report.content.get_image_measurement_groups():
        [certainty, *_] = [each for each in group.get_measurements() if each.name.value == CERTAINTY]
        [image] = [each for each in group[0].ContentSequence if each.name.value == SOURCE]
        uid = str(image.ReferencedSOPSequence[0].ReferencedSOPInstanceUID)
        found.setdefault(uid, {})[group.tracking_identifier] = float(certainty.value) / 100
    return found


def wait_for_reports(archive: Orthanc, count: int) -> list[Any]:
    """What QIDO-RS finds."""
    end = time.monotonic() + LONGEST_S
    while True:
        found = list(archive.ask("/dicom-web/instances?Modality=SR&limit=1000"))
        if len(found) >= count or time.monotonic() > end:
            return found
        time.sleep(0.2)


def wait_until_tidy(objects: Path) -> None:
    """Until no object is kept: what is delivered is deleted a moment after the archive has its report."""
    end = time.monotonic() + LONGEST_S
    while kept := list(objects.iterdir()):
        assert time.monotonic() < end, f"{len(kept)} objects are kept although all reports are there"
        time.sleep(0.1)
