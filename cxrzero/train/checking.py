"""`cxrzero train --check`: read everything once, as a training would, and say what it would learn from."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from cxrzero.display.counts import counted
from cxrzero.files import cannot_write, write_json
from cxrzero.train.checkpage import Seen, write_page
from cxrzero.train.data.augment import augment
from cxrzero.train.data.identifying import identifying
from cxrzero.train.data.intake import listed, paragraph
from cxrzero.train.data.pairs import Pairs, gather_pairs
from cxrzero.train.data.pixels import split_steps
from cxrzero.train.data.sampler import Sampler
from cxrzero.train.data.store import ImageStore, open_store
from cxrzero.train.model.start import Start, make_start
from cxrzero.train.options import TrainOptions
from cxrzero.train.progress import OnProgress, Progress
from cxrzero.train.tokenizing import learned_tokenizer

JSON, PAGE = "check.json", "check.html"
SAMPLE = 24  # pictures on the page, of either kind
NOT_CHEST = "maybe_not_chest_xray"


@dataclass(frozen=True)
class Check:
    """What a check found; `check.json` has the same fields.

    Attributes:
        source, layout, split_by: see `Intake`.
        images, training, validation, texts: that can be trained on; `texts` counts different ones.
        sections, encodings, passed_over: see `Intake` (`counts`).
        missing_texts: of `silent_reports`, how many are only a sign that there is no text: blank, "-", "#N/A", "todo".
        identifying: names, dates, record numbers, contacts → where texts stand that probably have such, each text
            where it is said first. A heuristic, which misses some; the texts themselves are not repeated here.
        silent_reports, missing, unreadable_reports, unreadable_images: all of them, with reasons.
        duplicate_images: files with the same picture, by group.
        duplicates_across: groups of these that are in both training and validation.
        repeated_texts: images whose text (of a report: the whole section) another image has too.
        shared_patients: patients in both training and validation.
        without_patient: images whose patient is unknown.
        tokens: quantiles of the texts' lengths in tokens, with start and end.
        context_length: that the model reads; longer texts are cut.
        cut_texts: texts that are longer.
        flagged: flag of `docs/images.md` → images.
        not_chest: images that do not look like a chest X-ray: photographs, pages of text, blank pictures.
        inverted: images that look like a negative, among the others.
        obstacles: why a training would refuse; empty = trainable.
    """

    source: str
    layout: str
    split_by: str
    images: int
    training: int
    validation: int
    texts: int
    sections: dict[str, int]
    encodings: dict[str, int]
    passed_over: dict[str, int]
    missing_texts: int
    identifying: dict[str, list[str]]
    silent_reports: list[str]
    missing: list[str]
    unreadable_reports: list[str]
    unreadable_images: list[str]
    duplicate_images: list[list[str]]
    duplicates_across: int
    repeated_texts: int
    shared_patients: int
    without_patient: int
    tokens: dict[str, int]
    context_length: int
    cut_texts: int
    flagged: dict[str, int]
    not_chest: list[str]
    inverted: list[str]
    obstacles: list[str]

    @property
    def trainable(self) -> bool:
        return not self.obstacles


def check(options: TrainOptions, on_progress: OnProgress | None = None) -> tuple[Check, list[Seen]]:
    """Read, decode and tokenise everything once; write check.json and check.html into `config.out`.

    The decoded images stay in the run's store, where a training with the same options finds them.

    Returns:
        What was found, and a sample of what the model would be shown first.

    Raises:
        UsageError: the source cannot be read at all.
        OutputError: the results cannot be written.
    """
    report = on_progress or (lambda _: None)
    gathered = gather_pairs(
        options.pairs,
        options.image_root,
        layout=options.layout,
        text_rule=options.text_rule,
        val_fraction=options.val_fraction,
    )
    start = make_start(options)
    store = open_store(
        gathered,
        options.store or options.out / "store",
        split_steps(start.steps)[0],
        lambda done, total: report(Progress("decode", done, total)),
        workers=options.decode_workers,
        skip_unreadable=True,
    )
    found = _found(options, store, start)
    seen = _sample(options, store)
    _write(options.out, found, seen, _suspects(store))
    return found, seen


def _found(options: TrainOptions, store: ImageStore, start: Start) -> Check:
    pairs, intake = store.pairs, store.pairs.intake
    assert intake is not None
    groups, strange = _duplicates(store), _flagged(store, NOT_CHEST)
    lengths = _lengths(options, pairs, start)
    firsts = Counter(int(true[0]) for true in pairs.true_texts)
    training = int((~pairs.validation).sum())
    return Check(
        source=intake.source,
        layout=intake.layout,
        split_by=intake.split_by,
        images=len(pairs.images),
        training=training,
        validation=len(pairs.images) - training,
        texts=len(pairs.texts),
        sections=dict(intake.sections),
        encodings=dict(intake.encodings),
        passed_over={what: count for what, count in intake.counts.items() if count},
        missing_texts=intake.missing_texts,
        identifying={kind: [intake.stated[i] for i in at] for kind, at in identifying(pairs.texts).items()},
        silent_reports=intake.silent,
        missing=intake.missing,
        unreadable_reports=intake.problems,
        unreadable_images=store.unreadable,
        duplicate_images=[[pairs.images[row] for row in rows] for rows in groups],
        duplicates_across=sum(len(set(pairs.validation[rows].tolist())) == 2 for rows in groups),
        repeated_texts=sum(count for count in firsts.values() if count > 1),
        shared_patients=len(intake.shared_patients),
        without_patient=sum(not patient for patient in pairs.patients),
        tokens={f"p{q}": int(np.percentile(lengths, q)) for q in (0, 50, 90, 99, 100)} if len(lengths) else {},
        context_length=start.context_length,
        cut_texts=int((lengths > start.context_length).sum()),
        flagged=dict(Counter(flag for fact in store.facts for flag in fact.flags)),
        not_chest=[pairs.images[row] for row in strange],
        inverted=[pairs.images[row] for row in _flagged(store, "maybe_inverted") if row not in strange],
        obstacles=_obstacles(options, store, training),
    )


def _flagged(store: ImageStore, flag: str) -> list[int]:
    return [row for row, fact in enumerate(store.facts) if flag in fact.flags]


def _obstacles(options: TrainOptions, store: ImageStore, training: int) -> list[str]:
    assert store.pairs.intake is not None
    obstacles = store.pairs.intake.obstacles(training, options.skip_unreadable)
    if store.unreadable and not options.skip_unreadable:
        obstacles.append(
            paragraph(
                f"{counted(len(store.unreadable), 'image')} cannot be read:",
                *listed(store.unreadable),
                "Replace them, or leave them out with --skip-unreadable.",
            )
        )
    if 2 <= training < options.batch_size:
        obstacles.append(
            f"a batch of {options.batch_size} is larger than the data ({counted(training, 'training image')}); lower "
            "--batch-size"
        )
    return obstacles


def _duplicates(store: ImageStore) -> list[list[int]]:
    rows: dict[str, list[int]] = {}
    for row, fact in enumerate(store.facts):
        rows.setdefault(fact.digest, []).append(row)
    return [group for group in rows.values() if len(group) > 1]


def _lengths(options: TrainOptions, pairs: Pairs, start: Start) -> npt.NDArray[np.int64]:
    """(T,) tokens of each text, start and end included."""
    if not pairs.texts:
        return np.zeros(0, np.int64)
    tokenizer = start.tokenizer or learned_tokenizer(options, pairs, start.arch["text_cfg"]["vocab_size"])[0]
    return np.array([len(encoding.ids) for encoding in tokenizer.encode_batch(pairs.texts)], np.int64)


def _sample(options: TrainOptions, store: ImageStore) -> list[Seen]:
    """The first images that the sampler draws, augmented, each with the texts drawn for it."""
    pairs = store.pairs
    count = min(SAMPLE, int((~pairs.validation).sum()))
    if not count:
        return []
    rows, texts = next(Sampler(pairs, count, options.texts_per_image, options.seed).epoch(0))
    pixels = torch.from_numpy(store.pixels[rows]).float() / 255
    if options.augment:
        pixels = augment(pixels, torch.Generator().manual_seed(options.seed))
    pictures = (pixels * 255).round().to(torch.uint8).numpy()
    return [
        Seen(pairs.images[row], picture, [pairs.texts[text] for text in drawn])
        for row, picture, drawn in zip(rows, pictures, texts, strict=True)
    ]


def _suspects(store: ImageStore) -> list[Seen]:
    """The first images that do not look like a chest X-ray, as they are stored, each with its first text."""
    pairs, rows = store.pairs, np.array(_flagged(store, NOT_CHEST)[:SAMPLE], np.int64)
    return [
        Seen(pairs.images[row], picture, [pairs.texts[int(pairs.true_texts[row][0])]])
        for row, picture in zip(rows, store.pixels[rows], strict=True)
    ]


def _write(out: Path, found: Check, seen: list[Seen], suspects: list[Seen]) -> None:
    content = {"trainable": found.trainable} | asdict(found)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(out, error) from error
    write_json(out / JSON, content)
    write_page(out / PAGE, found.source, seen, suspects)
