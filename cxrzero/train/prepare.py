"""From a request to everything that the loop needs: model, images, tokenizer, batches, validator, run folder."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import Any

import numpy as np

from cxrzero.choices import TrainPrecision
from cxrzero.clip.architecture import learns_tokenizer
from cxrzero.display.counts import counted
from cxrzero.errors import UsageError
from cxrzero.files import sha256_of, write_whole
from cxrzero.model.model_json import TOKENIZER
from cxrzero.model.preprocess import Preprocess
from cxrzero.tables.labelled import Labelled
from cxrzero.train.data.batches import Batches, TextEncoder
from cxrzero.train.data.grouped import films_saying
from cxrzero.train.data.identifying import warning_of
from cxrzero.train.data.intake import listed
from cxrzero.train.data.pairs import Pairs, default_labels, read_pairs
from cxrzero.train.data.pixels import EncoderInput, split_steps, standardised
from cxrzero.train.data.store import ImageStore, Pictures, open_store
from cxrzero.train.distributed import World
from cxrzero.train.material import Material
from cxrzero.train.measure.labelled import read_films
from cxrzero.train.measure.validation import Validator
from cxrzero.train.model.start import Start, make_start
from cxrzero.train.options import TrainOptions
from cxrzero.train.progress import OnProgress, Progress
from cxrzero.train.runfolder import RunFolder
from cxrzero.train.step.precision import choose_precision
from cxrzero.train.tokenizing import inherited_warning, learned_tokenizer

SAMPLE = 2048  # training images whose pixels give mean and deviation


def prepare(options: TrainOptions, folder: RunFolder, world: World, report: OnProgress, resume: bool) -> Material:
    """Check the request, claim the folder, decode the images, and build the rest.

    Raises:
        UsageError: the request is wrong; nothing was trained.
        OutputExistsError, OutputError: see `RunFolder.claim`.
    """
    pairs = _read(options, report)
    labelled = None if options.val_labels is None else read_films(options.val_labels, options.image_root, pairs.texts)
    if labelled is not None and (notice := labelled.notice()):
        report(Progress("note", message=f"{options.val_labels}: {notice}"))
    start = make_start(options)
    _check_sizes(options, pairs, world, labelled)
    if world.main:
        folder.claim(resume, options.overwrite)
    store, pictures, val_fingerprint = _stores(options, pairs, labelled, start, folder, world, report)
    if store.unreadable:
        pairs = store.pairs
        for line in (
            f"Left out {counted(len(store.unreadable), 'image')} that cannot be read:",
            *listed(store.unreadable),
        ):
            report(Progress("note", message=line))
        _check_sizes(options, pairs, world, labelled)
    strange = sum("maybe_not_chest_xray" in fact.flags for fact in store.facts)
    if strange:
        images = counted(strange, "image does", "images do")
        report(Progress("note", message=f"{images} not look like a chest X-ray; --check names them"))
    if world.main and not resume:
        for warning in (warning_of(pairs.texts), inherited_warning(start, pairs.texts)):
            if warning:
                report(Progress("note", message=warning))
    start = _complete(start, options, pairs, store)
    Preprocess(start.steps, (start.image_size, start.image_size))
    assert start.tokenizer is not None
    tokenizer, lr = start.tokenizer.to_str(pretty=True), options.lr if options.lr is not None else start.lr
    fixed = {
        "data_fingerprint": store.fingerprint,
        "val_labels_fingerprint": val_fingerprint,
        "init_sha256": start.source,
        "arch_sha256": _sha256(json.dumps(start.arch, sort_keys=True)),
        "tokenizer_sha256": _sha256(tokenizer),
        "lr": lr,
    }
    encode_texts = TextEncoder(start.tokenizer, start.context_length, learns_tokenizer(start.arch), start.pad_id)
    batches = Batches(pairs, store.pixels, encode_texts, options, world)
    prepare_pixels = EncoderInput(start.steps)
    precision: TrainPrecision = options.precision
    if resume:  # an earlier version recorded none, and knew no "auto"
        precision = folder.description().get("precision", precision)
    elif precision == "auto":

        def note(message: str) -> None:
            report(Progress("note", message=message))

        precision, told = choose_precision(start.model, batches.first(), prepare_pixels, world, options, note)
        note(told)
    _record(options, folder, world, fixed | {"precision": precision}, resume)
    options = replace(options, precision=precision)
    if world.main:
        write_whole(folder.path / TOKENIZER, tokenizer)

    table = None if labelled is None or pictures is None else (labelled, pictures)
    bf16 = options.precision == "bf16"
    validator = Validator(pairs, store.pixels, table, encode_texts, prepare_pixels, world.device, bf16)
    steps, labels = batches.steps, default_labels(pairs)
    if not labels:
        told = "The texts speak of no finding of the built-in bank, so predict will need --labels with this model"
        report(Progress("note", message=told))
    return Material(
        options=options,
        folder=folder,
        world=world,
        start=start,
        pairs=pairs,
        pixels=store.pixels,
        batches=batches,
        validator=validator,
        prepare_pixels=prepare_pixels,
        lr=lr,
        steps=steps,
        validation_steps=frozenset({*range(0, steps, options.val_every or batches.steps_per_epoch), steps} - {0}),
        fingerprint=store.fingerprint,
        labels=labels,
    )


def _read(options: TrainOptions, report: OnProgress) -> Pairs:
    pairs = read_pairs(
        options.pairs,
        options.image_root,
        layout=options.layout,
        text_rule=options.text_rule,
        val_fraction=options.val_fraction,
        skip_unreadable=options.skip_unreadable,
    )
    assert pairs.intake is not None
    report(Progress("note", message=pairs.intake.summary(len(pairs.images), int(pairs.validation.sum()))))
    return pairs


def _check_sizes(options: TrainOptions, pairs: Pairs, world: World, labelled: Labelled | None) -> None:
    training = int((~pairs.validation).sum())
    if training < options.batch_size:
        raise UsageError(
            f"a batch of {options.batch_size} is larger than the data ({counted(training, 'training image')}); lower "
            "--batch-size"
        )
    if options.patience is not None and labelled is None and not pairs.validation.any():
        raise UsageError(
            f"patience {options.patience}: there is nothing to validate on; give --val-labels or --val-fraction, or "
            "state a split"
        )
    if options.alike is not None:
        films_saying(pairs, options.alike)
    if options.batch_size < world.size:
        raise UsageError(f"a batch of {options.batch_size} cannot be shared by {world.size} processes")
    if labelled is None:
        return
    trained = {path.resolve() for path, held in zip(pairs.paths, pairs.validation, strict=True) if not held}
    both = sum(path.resolve() in trained for path in labelled.paths)
    if both:
        raise UsageError(
            f"{options.val_labels}: {counted(both, 'of its images is', 'of its images are')} trained on, too; keep "
            "each image in one of the two tables"
        )


def _stores(
    options: TrainOptions,
    pairs: Pairs,
    labelled: Labelled | None,
    start: Start,
    folder: RunFolder,
    world: World,
    report: OnProgress,
) -> tuple[ImageStore, Pictures | None, str | None]:
    """Decoded images of the pairs and of --val-labels, and the latter's fingerprint; the first process decodes, the
    others wait."""

    def tell(done: int, total: int) -> None:
        report(Progress("decode", done, total))

    geometry = split_steps(start.steps)[0]

    location, workers = options.store or folder.path / "store", options.decode_workers

    def make() -> tuple[ImageStore, Pictures | None, str | None]:
        skip = options.skip_unreadable
        store = open_store(pairs, location, geometry, tell, workers=workers, skip_unreadable=skip)
        if labelled is None:
            return store, None, None
        assert options.val_labels is not None
        asked = open_store(
            _as_pairs(labelled, sha256_of(options.val_labels)), location, geometry, tell, workers=workers
        )
        return store, asked.pixels, asked.fingerprint

    if world.main:
        made = make()
        world.wait()
        return made
    world.wait()
    return make()


def _as_pairs(labelled: Labelled, rows_sha256: str) -> Pairs:
    """Images without texts, as the store takes them."""
    count = len(labelled.paths)
    return Pairs(
        images=[str(path) for path in labelled.paths],
        paths=list(labelled.paths),
        texts=[],
        true_texts=[],
        truths=[],
        weights=[],
        groups=[""] * count,
        sources=[""] * count,
        validation=np.ones(count, bool),
        patients=[""] * count,
        rows_sha256=rows_sha256,
    )


def _complete(start: Start, options: TrainOptions, pairs: Pairs, store: ImageStore) -> Start:
    """Measure what the start left to the data: normalisation and tokenizer."""
    geometry, numeric = split_steps(start.steps)
    if not numeric:
        sample = store.pixels[np.flatnonzero(~pairs.validation)[:SAMPLE]]
        start = replace(start, steps=[dict(step) for step in standardised(geometry, sample)])
    if start.tokenizer is not None:
        return start
    tokenizer, words = learned_tokenizer(options, pairs, start.arch["text_cfg"]["vocab_size"])
    return replace(start, tokenizer=tokenizer, words=words)


def _record(options: TrainOptions, folder: RunFolder, world: World, fixed: dict[str, Any], resume: bool) -> None:
    """Write run.json, or check a resumed run against it.

    Args:
        fixed: what the run computes from, besides its options.

    Raises:
        UsageError: data or weights are not those that the run was started with; the field is named.
    """
    place = {"device": str(world.device), "gpu": world.gpu, "processes": world.size}
    if resume:
        recorded = folder.description()
        for name, value in fixed.items():
            if name in recorded and recorded[name] != value:  # an earlier version recorded fewer
                raise UsageError(
                    f"{name} is {value}, but the run in {folder.path} was started with {recorded[name]}: what it "
                    "learns from has changed since. Restore it, or start another run with another --out"
                )
        if world.main:
            folder.note_resumption(place)
    elif world.main:
        folder.describe(options, {"seed": options.seed} | fixed | place)
    world.wait()


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
