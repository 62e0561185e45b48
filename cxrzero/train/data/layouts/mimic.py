"""The layout of MIMIC-CXR: pNN/pNNNNNNNN/sNNNNNNNN.txt, and the study's images in the folder sNNNNNNNN beside it.

Reports and images may lie below two roots (reports and JPEGs are two archives). Patient and study come from the names
of the folders. Where the archive's own list of splits is beside them, it decides: `validate` is validation, and `test`
is left out.
"""

from __future__ import annotations

import csv
import gzip
import os
import re
from collections.abc import Iterable
from pathlib import Path

from cxrzero.errors import UsageError
from cxrzero.sources import IMAGE_SUFFIXES
from cxrzero.train.data.layouts.listing import Folder
from cxrzero.train.data.layouts.record import Record, Source
from cxrzero.train.data.layouts.reportfile import read_report

SPLIT_FILE = re.compile(r"mimic-cxr-[\d.]+-split\.csv(\.gz)?")
SPLITS = {"train": "train", "validate": "val", "test": "test"}
_STUDY = re.compile(r"s\d{8}\.txt")
_PATIENT = re.compile(r"p\d{8}")
_GROUP = re.compile(r"p\d{2}")


def is_patient(folder: Folder) -> bool:
    """Whether this is pNN/pNNNNNNNN with a report in it."""
    return (
        bool(_PATIENT.fullmatch(folder.path.name) and _GROUP.fullmatch(folder.path.parent.name))
        and folder.path.name.startswith(folder.path.parent.name)
        and any(map(_STUDY.fullmatch, folder.names))
    )


def read_mimic(source: Source, folders: Iterable[Folder]) -> None:
    """Fill `source.records`: every image of a study with the study's report.

    Raises:
        UsageError: the list of splits cannot be read.
    """
    listed = list(folders)
    splits = _splits(listed, source.images)
    for folder in listed:
        if not is_patient(folder):
            continue
        for name in filter(_STUDY.fullmatch, folder.names):
            study = name.removesuffix(".txt")
            place = Path(folder.path.parent.name, folder.path.name, study)
            split = splits.get(study[1:], "") if splits else ""
            if split == "test":
                source.counts["studies of the archive's test split, left out"] += 1
                continue
            images = _images(folder.path / study, source.images, place)
            if not images:
                source.counts["reports without an image"] += 1
                continue
            report = read_report(folder.path / name, source)
            if report is None:
                continue
            for path in images:
                image = str(place / path.name)
                source.records.append(
                    Record(image, path, None, report, str(folder.path / name), folder.path.name, study, split)
                )


def _images(beside: Path, root: Path, place: Path) -> list[Path]:
    """A study's images: beside the report, else below the root of images. One file for each name without suffix."""
    for folder in (beside, root / place, root / "files" / place):
        try:
            names = sorted(os.listdir(folder), key=os.fsencode)
        except (FileNotFoundError, NotADirectoryError):
            continue
        # The same picture as DICOM and as JPEG counts once: the DICOM, whose name comes first.
        chosen = {
            os.path.splitext(n)[0]: n for n in reversed(names) if os.path.splitext(n)[1].lower() in IMAGE_SUFFIXES
        }
        if chosen:
            return [folder / name for name in reversed(chosen.values())]
    return []


def _splits(folders: list[Folder], root: Path) -> dict[str, str]:
    """Study number → train, val or test; empty where there is no list."""
    found = [folder.path / name for folder in folders for name in folder.names if SPLIT_FILE.fullmatch(name)]
    if not found and root.is_dir():
        found = [root / name for name in sorted(os.listdir(root)) if SPLIT_FILE.fullmatch(name)]
    if not found:
        return {}
    path = found[0]
    try:
        with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as file:
            return {row["study_id"]: SPLITS[row["split"]] for row in csv.DictReader(file)}
    except (OSError, EOFError, KeyError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path} cannot be read as the archive's list of splits: {error!r}") from error
