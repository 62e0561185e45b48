"""The layout of Open-I (Indiana University): XML reports, each of which names its images.

The reports are one archive, the images another (PNG: CXR1_1_IM-0001-3001.png; DICOM: 1_IM-0001-3001.dcm); both are
looked for below the source, or the images below the root of images. One report is one patient there.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from xml.etree import ElementTree

from cxrzero.train.data.layouts.listing import Folder, is_image, walk
from cxrzero.train.data.layouts.record import Record, Source
from cxrzero.train.data.layouts.reportfile import read_bytes

HEAD_BYTES = 4096
ROOT = "eCitation"


def is_report(path: Path) -> bool:
    """Whether an XML file is of this kind, by its first bytes."""
    try:
        with path.open("rb") as file:
            return f"<{ROOT}".encode() in file.read(HEAD_BYTES)
    except OSError:
        return True  # it is read again, and then the reason is kept


def read_openi(source: Source, folders: Iterable[Folder]) -> None:
    """Fill `source.records`. An image that is nowhere becomes a record whose file does not exist, for all to be
    named."""
    listed = list(folders)
    images = _index(listed if source.images == source.path else walk(source.images))
    for folder in listed:
        for name in folder.names:
            path = folder.path / name
            if not name.lower().endswith(".xml") or not is_report(path):
                continue
            root = _parse(path, source)
            if root is None:
                continue
            named = [image.get("id", "") for image in root.iter("parentImage")]
            if not any(named):
                source.counts["reports without an image"] += 1
            report = _report(root)
            study = next((element.get("id", "") for element in root.iter("uId")), "") or path.stem
            for image in filter(None, named):
                # The DICOM archive leaves the study's "CXR1_" away.
                found = images.get(image) or images.get(image.partition("_")[2]) or source.images / f"{image}.png"
                source.records.append(Record(image, found, None, report, str(path), study, study))


def _index(folders: Iterable[Folder]) -> dict[str, Path]:
    """Name without suffix → image file."""
    found: dict[str, Path] = {}
    for folder in folders:
        for name in folder.names:
            if is_image(folder.path, name):
                found.setdefault(os.path.splitext(name)[0], folder.path / name)
    return found


def _parse(path: Path, source: Source) -> ElementTree.Element | None:
    """Parse a file that may be hostile: small, one byte a character, without a document type, so without entities."""
    data = read_bytes(path, source)
    if data is None:
        return None
    upper = data.upper()
    if b"\0" in data or b"<!DOCTYPE" in upper or b"<!ENTITY" in upper:
        source.problems.append(f"{path}: XML with a document type or entities, or in UTF-16, is not read")
        return None
    try:
        return ElementTree.fromstring(data)
    except (ElementTree.ParseError, LookupError, ValueError) as error:
        source.problems.append(f"{path}: not well-formed XML ({error})")
        return None


def _report(root: ElementTree.Element) -> str:
    parts = (
        (element.get("Label", "").strip(), "".join(element.itertext()).strip()) for element in root.iter("AbstractText")
    )
    return "\n\n".join(f"{label}: {text}" if label else text for label, text in parts if text)
