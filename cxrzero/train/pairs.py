"""The pairs of a run: which images there are, and which texts are known to be true of each."""

from __future__ import annotations

import csv
import hashlib
import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cxrzero.errors import UsageError

REQUIRED = ("image", "text")
OPTIONAL = ("patient_id", "split", "group", "weight")
SPLITS = ("train", "val")
MOST_LABELS = 15
SHOWN = 20  # file names that an error message lists before it only counts


@dataclass(frozen=True)
class Pairs:
    """All rows of a pairs file, gathered by image. Images and texts keep the order of their first row.

    Attributes:
        images: (N,) path of each image as written in the file.
        paths: (N,) the same, resolved.
        texts: (T,) the different texts.
        true_texts: (N,) for each image the indices into `texts` of everything known to be true of it, int64.
        weights: (N,) beside `true_texts`: how often that pair is drawn relative to others, float64.
        groups: (N,) images of one group are contrasted only with each other (a source with its own look and
            its own labels is a group: otherwise the look is learned as the label).
        validation: (N,) bool: kept out of training.
        patients: (N,) patient of each image, "" = unknown.
        rows_sha256: hash over every row's image, text, patient, split, group and weight.
    """

    images: list[str]
    paths: list[Path]
    texts: list[str]
    true_texts: list[npt.NDArray[np.int64]]
    weights: list[npt.NDArray[np.float64]]
    groups: list[str]
    validation: npt.NDArray[np.bool_]
    patients: list[str]
    rows_sha256: str


@dataclass
class _Image:
    split: str
    group: str
    patient: str
    texts: dict[int, float]


def read_pairs(csv_path: Path, image_root: Path | None = None) -> Pairs:
    """Read and check a pairs file.

    Args:
        csv_path: UTF-8 CSV with the columns `image,text`; an image may have any number of rows, one true text each.
            Optional columns: `patient_id`; `split` (train or val); `group`; `weight` (> 0; default 1).
        image_root: folder that relative paths start from; None = the folder of `csv_path`.

    Raises:
        UsageError: a column is missing, a value is wrong, image files do not exist (all are named), an image or a
            patient is in both splits, or fewer than two training images are left.
    """
    root = csv_path.parent if image_root is None else image_root
    images: dict[str, _Image] = {}
    texts: dict[str, int] = {}
    digest = hashlib.sha256()
    for line, row in _rows(csv_path):
        name, text = row["image"], " ".join(row["text"].split())
        if not name or not text:
            raise UsageError(f"{csv_path}, line {line}: image and text must not be empty")
        split, group, patient = row.get("split") or "train", row.get("group") or "", row.get("patient_id") or ""
        weight = _weight(row.get("weight") or "1", csv_path, line)
        if split not in SPLITS:
            raise UsageError(f"{csv_path}, line {line}: split must be one of {', '.join(SPLITS)}, not {split!r}")
        image = images.setdefault(name, _Image(split, group, patient, {}))
        if (image.split, image.group, image.patient) != (split, group, patient):
            raise UsageError(
                f"{csv_path}, line {line}: {name} has another split, group or patient_id in an earlier row"
            )
        image.texts[texts.setdefault(text, len(texts))] = weight
        digest.update("\x1f".join((name, text, patient, split, group, repr(weight))).encode() + b"\x1e")

    paths = [root / name for name in images]
    _check(csv_path, images, paths)
    return Pairs(
        images=list(images),
        paths=paths,
        texts=list(texts),
        true_texts=[np.fromiter(image.texts.keys(), np.int64) for image in images.values()],
        weights=[np.fromiter(image.texts.values(), np.float64) for image in images.values()],
        groups=[image.group for image in images.values()],
        validation=np.array([image.split == "val" for image in images.values()], bool),
        patients=[image.patient for image in images.values()],
        rows_sha256=digest.hexdigest(),
    )


def default_labels(pairs: Pairs) -> list[str]:
    """What a model of these pairs is asked without --labels: texts "X" that have a "no X", else the commonest."""
    counts = Counter(int(text) for texts in pairs.true_texts for text in texts)
    texts = {text.lower() for text in pairs.texts}
    commonest = [pairs.texts[i] for i, _ in counts.most_common()]
    return [text for text in commonest if f"no {text.lower()}" in texts][:MOST_LABELS] or commonest[:1]


def _rows(csv_path: Path) -> list[tuple[int, dict[str, str]]]:
    try:
        with csv_path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            columns = reader.fieldnames or []
            missing = [column for column in REQUIRED if column not in columns]
            if missing:
                found = ", ".join(columns) or "nothing"
                raise UsageError(f"{csv_path} lacks the column {' and '.join(missing)}; its first line has: {found}")
            known = [column for column in (*REQUIRED, *OPTIONAL) if column in columns]
            return [(reader.line_num, {column: (row[column] or "").strip() for column in known}) for row in reader]
    except OSError as error:
        raise UsageError(f"{csv_path} cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{csv_path} is not a UTF-8 CSV file: {error}") from error


def _weight(value: str, csv_path: Path, line: int) -> float:
    try:
        weight = float(value)
    except ValueError:
        weight = math.nan
    if not 0 < weight < math.inf:
        raise UsageError(f"{csv_path}, line {line}: weight must be a number greater than 0, not {value!r}")
    return weight


def _check(csv_path: Path, images: dict[str, _Image], paths: list[Path]) -> None:
    absent = [str(path) for path in paths if not path.is_file()]
    if absent:
        more = f"\n  and {len(absent) - SHOWN} more" if len(absent) > SHOWN else ""
        listed = "\n  ".join(absent[:SHOWN])
        raise UsageError(f"{csv_path} names {len(absent)} image files that do not exist:\n  {listed}{more}")
    training = sum(image.split == "train" for image in images.values())
    if training < 2:
        raise UsageError(f"{csv_path} has {training} training image(s); contrastive training needs at least two")
    splits: dict[str, set[str]] = {}
    for image in images.values():
        if image.patient:
            splits.setdefault(image.patient, set()).add(image.split)
    both = sum(len(found) > 1 for found in splits.values())
    if both:
        raise UsageError(f"{csv_path}: {both} patient(s) are in both train and val; keep each patient in one split")
