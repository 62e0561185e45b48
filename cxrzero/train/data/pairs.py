"""The pairs of a run: which images there are, and which texts are known to be true of each."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cxrzero.choices import PairsLayout, TextRule
from cxrzero.errors import UsageError
from cxrzero.prompts.bank import key_of
from cxrzero.prompts.mentions import mentioned
from cxrzero.train.data.intake import Intake
from cxrzero.train.data.layouts import Record, Source, read_source
from cxrzero.train.data.reports import is_missing, report_texts
from cxrzero.train.data.reports.rules import ReportTexts
from cxrzero.train.data.split import is_held_out

MAX_LABELS = 15
LIKELY = 0.5  # truth from which a text is taken as true where only yes and no are known


@dataclass(frozen=True)
class Pairs:
    """All pairs of a source, gathered by image. Images and texts keep the order of their first row.

    Attributes:
        images: (N,) path of each image as the source names it.
        paths: (N,) the same, resolved.
        texts: (T,) the different texts.
        true_texts: (N,) for each image the indices into `texts` of everything said of it, int64; of a report the
            whole section first, then its sentences.
        truths: (N,) beside `true_texts`: how true that is, above 0 to 1, float32; 1 unless the source doubts.
        weights: (N,) beside `true_texts`: how often that pair is drawn relative to others, float64.
        groups: (N,) images of one group are contrasted only with each other (a source with its own look and
            its own labels is a group: otherwise the look is learned as the label).
        sources: (N,) where each image is from; its group where that is not stated. Several may share a group.
        validation: (N,) bool: kept out of training.
        patients: (N,) patient of each image, "" = unknown.
        rows_sha256: hash over every pair's image, text, patient, split, group, weight, truth below 1, and source if
            stated.
        intake: what was found while they were read; None for pairs that were not read from a source.
    """

    images: list[str]
    paths: list[Path]
    texts: list[str]
    true_texts: list[npt.NDArray[np.int64]]
    truths: list[npt.NDArray[np.float32]]
    weights: list[npt.NDArray[np.float64]]
    groups: list[str]
    sources: list[str]
    validation: npt.NDArray[np.bool_]
    patients: list[str]
    rows_sha256: str
    intake: Intake | None = None

    def true_of(self, image: int) -> npt.NDArray[np.int64]:
        """Indices of the texts that are rather true of an image than not."""
        return self.true_texts[image][self.truths[image] >= LIKELY]

    def only(self, rows: npt.NDArray[np.int64]) -> Pairs:
        """The pairs of some images; the texts keep their numbers."""

        def chosen(values: list[Any]) -> list[Any]:
            return [values[row] for row in rows]

        return replace(
            self,
            images=chosen(self.images),
            paths=chosen(self.paths),
            true_texts=chosen(self.true_texts),
            truths=chosen(self.truths),
            weights=chosen(self.weights),
            groups=chosen(self.groups),
            sources=chosen(self.sources),
            validation=self.validation[rows],
            patients=chosen(self.patients),
        )


@dataclass
class _Image:
    path: Path
    split: str
    group: str
    source: str
    patient: str
    texts: dict[int, tuple[float, float]] = field(default_factory=dict)  # text → (weight, truth)


def read_pairs(
    path: Path,
    image_root: Path | None = None,
    *,
    layout: PairsLayout = "auto",
    text_rule: TextRule = "sentences",
    val_fraction: float = 0.0,
    skip_unreadable: bool = False,
) -> Pairs:
    """Read a source and check that it can be trained on.

    Args:
        path: a CSV file or a folder, see `cxrzero.train.data.layouts`. Columns of a CSV: `image`, and `text` or
            `report`; an image may have any number of rows. Optional: `patient_id`; `study_id`; `split` (train or val);
            `group`; `source` (default: the group); `weight` (> 0; default 1); `truth` (how true the text is of the
            image, above 0 to 1; default 1).
        image_root: folder that relative image paths start from; None = that of `path`.
        layout: "auto" recognises it.
        text_rule: which words of a report are taken, see `cxrzero.train.data.reports.rules`.
        val_fraction: part of the patients kept for validation where the source states no split.
        skip_unreadable: leave out images that do not exist and reports that cannot be read.

    Raises:
        UsageError: a column is missing, a value is wrong, image files do not exist or reports cannot be read (all are
            named), an image or a patient is in both splits, or fewer than two training images are left.
    """
    pairs = gather_pairs(path, image_root, layout=layout, text_rule=text_rule, val_fraction=val_fraction)
    assert pairs.intake is not None
    obstacles = pairs.intake.obstacles(int((~pairs.validation).sum()), skip_unreadable)
    if obstacles:
        raise UsageError(*"\n".join(obstacles).split("\n"))
    return pairs


def gather_pairs(
    path: Path,
    image_root: Path | None = None,
    *,
    layout: PairsLayout = "auto",
    text_rule: TextRule = "sentences",
    val_fraction: float = 0.0,
) -> Pairs:
    """Read pairs as `read_pairs` does, but leave out images that do not exist, and only note in `Pairs.intake` what
    stops a training."""
    source = read_source(path, image_root, layout)
    intake = Intake(
        str(path),
        source.layout,
        len(source.records),
        encodings=source.encodings,
        counts=source.counts,
        problems=source.problems,
        split_by=_split_by(source, val_fraction),
    )
    images: dict[str, _Image] = {}
    texts: dict[str, int] = {}
    digest = hashlib.sha256()
    missing: dict[str, None] = {}
    for record, found in _said(source, text_rule, intake):
        if record.image not in images and not record.path.is_file():
            missing[str(record.path)] = None
            continue
        split = _split(record, intake.split_by, val_fraction)
        stated = (split, record.group, record.source or record.group, record.patient)
        image = images.setdefault(record.image, _Image(record.path, *stated))
        if (image.split, image.group, image.source, image.patient) != stated:
            raise UsageError(
                f"{record.where}: {record.image} has another split, group, source or patient_id in an earlier row"
            )
        for text, weight in found:
            if text not in texts:
                texts[text] = len(texts)
                intake.stated.append(record.where)
            image.texts[texts[text]] = (weight, record.truth)
            doubt = () if record.truth == 1 else (repr(record.truth),)
            named = (f"source={record.source}",) if record.source else ()
            row = (record.image, text, record.patient, split, record.group, repr(weight), *doubt, *named)
            digest.update("\x1f".join(row).encode("utf-8", "surrogateescape") + b"\x1e")
    intake.missing.extend(missing)
    intake.shared_patients.extend(_in_both(images.values()))
    return Pairs(
        images=list(images),
        paths=[image.path for image in images.values()],
        texts=list(texts),
        true_texts=[np.fromiter(image.texts.keys(), np.int64) for image in images.values()],
        truths=[np.array([truth for _, truth in image.texts.values()], np.float32) for image in images.values()],
        weights=[np.array([weight for weight, _ in image.texts.values()], np.float64) for image in images.values()],
        groups=[image.group for image in images.values()],
        sources=[image.source for image in images.values()],
        validation=np.array([image.split == "val" for image in images.values()], bool),
        patients=[image.patient for image in images.values()],
        rows_sha256=digest.hexdigest(),
        intake=intake,
    )


def default_labels(pairs: Pairs) -> list[str]:
    """What a model of these pairs is asked without --labels: findings of the built-in bank that the texts speak of.

    Those with a text "X" and a text "no X", if there are any; the commonest first. Only the bank's own names: a
    label that were a text of the pairs could be a sentence about a patient.
    """
    images = Counter(int(text) for image in range(len(pairs.images)) for text in pairs.true_of(image))
    texts = {key_of(text) for text in pairs.texts}
    spoken: Counter[tuple[str, str]] = Counter()  # (finding, name) → images
    opposed: Counter[tuple[str, str]] = Counter()
    for text, count in images.items():
        for found in mentioned(pairs.texts[text]).items():
            spoken[found] += count
            if key_of(pairs.texts[text]) == key_of(found[1]) and f"no {key_of(found[1])}" in texts:
                opposed[found] += count
    names: dict[str, str] = {}
    for (finding, name), _ in (opposed or spoken).most_common():
        names.setdefault(finding, name)
    return list(names.values())[:MAX_LABELS]


def _said(source: Source, rule: TextRule, intake: Intake) -> Iterator[tuple[Record, list[tuple[str, float]]]]:
    """Yield every record that says something, with its texts and their weights; count the sections."""
    read = lru_cache(maxsize=64)(report_texts)  # the views of a study share their report
    reports: set[str] = set()
    for record in source.records:
        if record.text is not None:
            missing = is_missing(record.text)
            intake.sections["nothing" if missing else "text"] += 1
            if missing:
                intake.leave_out(record.where, record.text)
            else:
                yield record, [(" ".join(record.text.split()), record.weight)]
            continue
        found = read(record.report or "", rule)
        if record.where not in reports:
            reports.add(record.where)
            intake.sections[found.section or "nothing"] += 1
            if found.section is None:
                intake.leave_out(record.where, record.report or "")
        if found.section is not None:
            yield record, _weighted(found, record.weight)


def _weighted(found: ReportTexts, weight: float) -> list[tuple[str, float]]:
    """The whole section is drawn as often as all of its sentences together."""
    return [(found.whole, weight), *((sentence, weight / len(found.sentences)) for sentence in found.sentences)]


def _split_by(source: Source, fraction: float) -> str:
    if any(record.split for record in source.records):
        if fraction > 0:
            raise UsageError(f"{source.path} states a split; leave --val-fraction out")
        return "source"
    if not 0 <= fraction < 1:
        raise UsageError(f"val_fraction must be at least 0 and less than 1, not {fraction}")
    if fraction == 0:
        return ""
    if all(record.patient for record in source.records):
        return "patient"
    return "study" if all(record.study for record in source.records) else "image"


def _split(record: Record, split_by: str, fraction: float) -> str:
    if split_by in ("", "source"):
        return record.split or "train"
    key = {"patient": record.patient, "study": record.study, "image": record.image}[split_by]
    return "val" if is_held_out(key, fraction) else "train"


def _in_both(images: Iterable[_Image]) -> list[str]:
    splits: dict[str, set[str]] = {}
    for image in images:
        if image.patient:
            splits.setdefault(image.patient, set()).add(image.split)
    return [patient for patient, found in splits.items() if len(found) > 1]
