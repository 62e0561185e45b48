"""Models that are open, what a question comes to for them, and the stream of rows that films become."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, Self

import numpy as np
import numpy.typing as npt

from cxrzero._version import __version__
from cxrzero.archive.archives import Archives
from cxrzero.backends import open_encoder
from cxrzero.backends.base import CUDA_BATCH, CUDA_CALLS, cpu_count
from cxrzero.cache.store import Store
from cxrzero.choices import (
    DEFAULT_MODEL,
    OWN_CALIBRATION,
    Backend,
    CacheBy,
    DecodeIn,
    Device,
    Notify,
    Precision,
    gpu_number,
    silent,
)
from cxrzero.display.oneline import line
from cxrzero.embeddings.origin import Origin
from cxrzero.errors import LabelError, UsageError
from cxrzero.files import installed_versions
from cxrzero.images.flags import MIN_SIDE
from cxrzero.images.radiograph import DecodeOptions, Radiograph
from cxrzero.member import DECODING_PACKAGES, Member, members_of, preprocessings_of
from cxrzero.model.score import Ensemble, Scorer
from cxrzero.pipeline.hashing import CACHE_BY, blocks_by
from cxrzero.pipeline.items import Item, RunStats
from cxrzero.pipeline.onethread import OneThread
from cxrzero.pipeline.run import Pipeline
from cxrzero.pipeline.selection import Selection
from cxrzero.pipeline.threads import DECODE_IN, PROCESSES_FROM, OpenDecoders, ThreadDecoders
from cxrzero.prediction import Prediction
from cxrzero.prompts import LabelPrompts, resolve_prompts
from cxrzero.prompts.ask import entries_of
from cxrzero.prompts.lint import Finding
from cxrzero.prompts.remarks import UNMEASURED, remarks_on
from cxrzero.registry.resolve import resolve_models
from cxrzero.remote.objects import Objects
from cxrzero.sources import ImageRef
from cxrzero.sources.reader import Reader

if TYPE_CHECKING:
    from cxrzero.calibration.applied import AppliedCalibration
    from cxrzero.images.nvjpeg2000 import GpuFrames
    from cxrzero.sources.objects import Objects as AnyObjects

PathLike = str | os.PathLike[str]

# Frames that are encoded together. On a CPU more gain nothing; on a GPU two calls are under way at once, and two wait.
BATCH_SIZES = {"cpu": 32, "cuda": 2 * CUDA_CALLS * CUDA_BATCH}
MAX_DEFAULT_WORKERS = 16
# What --fast-decode keeps: twice what the model sees, so that the resize still averages.
FAST_OVERSAMPLING = 2


class OpenModels:
    """What every command and the Python API have: models, caches, decoders, and how they are asked.

    Arguments and errors are those of `cxrzero.Screener`, which is what programs use.

    Attributes:
        members: the models.
        reader: reads films, whatever their place.
        store: where embeddings are kept; None keeps none.
        batch_size: frames that are encoded together.
        workers: files that are decoded at once.
        decode_options: how images are decoded.
        gpu_frames: decodes compressed frames on a GPU; None where the processor does.
        selection: which readable images are left out.
        cache_by: what the cache knows a film by.
    """

    def __init__(
        self,
        model: PathLike | Sequence[PathLike] = DEFAULT_MODEL,
        *,
        device: Device = "auto",
        backend: Backend = "auto",
        precision: Precision = "fp32",
        batch_size: int | None = None,
        workers: int | None = None,
        decode_in: DecodeIn = "threads",
        decode_options: DecodeOptions | None = None,
        selection: Selection | None = None,
        cache: bool | Path = True,
        cache_by: CacheBy = "path",
        cache_large: bool = False,
        fast_decode: bool = False,
        gpu_decode: bool = False,
        archives: Archives | None = None,
        objects: Objects | None = None,
        notify: Notify = silent,
    ) -> None:
        if any(number is not None and number < 1 for number in (batch_size, workers)):
            raise UsageError("batch_size and workers must be at least 1")
        if cache_by not in CACHE_BY:
            raise UsageError(f"cache_by {cache_by!r} is unknown; choose one of {', '.join(CACHE_BY)}")
        if decode_in not in DECODE_IN:
            raise UsageError(f"decode_in {decode_in!r} is unknown; choose one of {', '.join(DECODE_IN)}")
        self._use = OneThread("Screener")
        self._notify, self.reader = notify, Reader(archives, objects)
        self.store: Store | None = Store(None if cache is True else cache) if cache else None
        specs = [model] if isinstance(model, str | os.PathLike) else list(model)
        bundles = [bundle for spec in specs for bundle in resolve_models(os.fspath(spec), notify)]
        encoders = [open_encoder(bundle, backend, device, precision) for bundle in bundles]
        self.members = members_of(bundles, encoders, self.store, keeps_large=cache_large)
        self.batch_size = batch_size or BATCH_SIZES[self.members[0].encoder.device]
        self.workers = workers or min(cpu_count(), MAX_DEFAULT_WORKERS)
        self._decode_in = decode_in
        self.decode_options = decode_options or DecodeOptions()
        if fast_decode:
            side = max(member.preprocess.largest_side for member in self.members)
            self.decode_options = replace(self.decode_options, fast_side=max(FAST_OVERSAMPLING * side, MIN_SIDE))
        self.gpu_frames = _gpu_frames(self.decode_options, gpu_number(device)) if gpu_decode else None
        if gpu_decode and workers is None:  # as many again: a thread whose frame is on the GPU waits
            self.workers *= 2
        if archives is not None and workers is None:  # a thread that waits for an archive does nothing else
            self.workers += archives.limits.requests
        self.selection = selection or Selection()
        self.cache_by = cache_by

    def origin(self) -> Origin:
        """What `embed` says of who made its embeddings.

        Raises:
            UsageError: a model scores by attention, and has none.
        """
        for member in self.members:
            member.require_embeddings()
        models = tuple(
            {
                "name": member.bundle.name,
                "fingerprint": member.fingerprint,
                "embed_dim": member.bundle.embed_dim,
                "preprocess": [dict(step) for step in member.bundle.preprocess],
            }
            for member in self.members
        )
        versions = {"cxrzero": __version__, **installed_versions(DECODING_PACKAGES)}
        return Origin(models, self.precision, asdict(self.decode_options), versions)

    def close(self) -> None:
        """End connections and close the cache; it cannot be used any more. Once is enough.

            >>> screener = Screener()
            >>> screener.close()

        Raises:
            UsageError: another thread is using it.
        """
        self._use.close()
        for each in (self.store, self.reader.archives, self.reader.objects):
            if each is not None:
                each.close()

    def __enter__(self) -> Self:
        self._use.check()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> NoReturn:
        self._use.refuse_pickling()

    def __repr__(self) -> str:
        names, encoder = ", ".join(member.bundle.name for member in self.members), self.members[0].encoder
        return f"{line(f'<Screener: {names} in {self.precision} on {encoder.device} by {encoder.backend}')}>"

    @property
    def member(self) -> Member:
        """The one model.

        Raises:
            UsageError: it is an ensemble.
        """
        if len(self.members) > 1:
            names = ", ".join(member.bundle.path.name for member in self.members)
            raise UsageError(f"this takes one model, not an ensemble of {len(self.members)}: {names}")
        return self.members[0]

    @property
    def archives(self) -> Archives | None:
        return self.reader.archives

    @property
    def objects(self) -> AnyObjects | None:
        return self.reader.objects

    @property
    def decode_in(self) -> str:
        """What runs: "threads" or "processes"."""
        if self.gpu_frames is not None or not self.reader.in_processes:
            return "threads"  # which share the GPU or the connections of this process
        if self._decode_in == "auto":
            return "processes" if self.workers >= PROCESSES_FROM[self.members[0].encoder.device] else "threads"
        return self._decode_in

    @property
    def is_ensemble(self) -> bool:
        return len(self.members) > 1

    def prompts(
        self, labels: Sequence[str] | None = None, prompts: str | None = None, calibration: PathLike | None = None
    ) -> tuple[LabelPrompts, ...]:
        """The sentences asked for each label, see `cxrzero.prompts.resolve_prompts`.

        Without labels those of the calibration are asked, if one is given.

        Of an ensemble those of its first model, whose own labels and templates they come from where nothing else is
        given; every other model is asked by its own templates (`cxrzero.member.Member.own`).
        """
        if isinstance(labels, str) or not all(isinstance(label, str) for label in labels or ()):
            raise LabelError('labels must be a list of texts, for example ["pneumonia", "edema"]')
        if labels is None and calibration is not None:
            from cxrzero.calibration.applied import fitted_labels  # brings the evaluation's modules along

            labels = fitted_labels(self._calibration_file(calibration)[0])
        return resolve_prompts(self.members[0].bundle, labels, prompts)

    def remarks(self, prompts: Sequence[LabelPrompts], *, is_typed: bool = True) -> list[Finding]:
        """What to know of the words of these prompts, and of how well they were measured (docs/prompts.md).

        Args:
            is_typed: whether the user named the labels; else they are the model's own, and that some of them were never
                measured is not said.
        """
        bundles = [member.bundle for member in self.members]
        found = remarks_on(prompts, bundles, self.members[0].tokenizer.pieces)
        return [each for each in found if is_typed or each.code != UNMEASURED]

    def calibration(self, given: PathLike, prompts: Sequence[LabelPrompts]) -> AppliedCalibration:
        """Read a calibration for these prompts, see `cxrzero.calibration.applied.load_calibration`."""
        from cxrzero.calibration.applied import load_calibration  # brings the evaluation's modules along

        path, of_model = self._calibration_file(given)
        labels = [prompt.label for prompt in prompts]
        return load_calibration(path, self.decisive(prompts), labels, of_model=of_model)

    def _calibration_file(self, given: PathLike) -> tuple[Path, bool]:
        """Where it is, and whether that is the model's own; a `Path` is a file whatever its name."""
        if given != OWN_CALIBRATION:
            return Path(given), False
        from cxrzero.calibration.bundled import own_calibration

        return own_calibration([member.bundle for member in self.members]), True

    def decisive(self, prompts: Sequence[LabelPrompts]) -> dict[str, Any]:
        """What decides the scores, by the keys of the run record.

        `preprocess`, `scoring` and the sentences are those of the first model; an ensemble adds each model's own.
        --fast-decode counts as a first step of preprocessing: a calibration of whole pictures is not one of these.
        """
        asked = [member.own(prompts) for member in self.members]
        rules = self.members[0].bundle.rules()
        if self.decode_options.fast_side is not None:
            step = {"step": "fast_decode", "least_side": self.decode_options.fast_side}
            rules["preprocess"] = [step, *rules["preprocess"]]
        return {
            "precision": self.precision,
            "models": [m.record() | (m.bundle.rules() if self.is_ensemble else {}) for m in self.members],
            **rules,
            "prompts": entries_of(asked, [member.bundle.scoring for member in self.members]),
        }

    @property
    def precision(self) -> str:
        """What runs; where `auto` took different ones for an ensemble's models, all in their order."""
        precisions = [member.encoder.precision for member in self.members]
        return precisions[0] if len(set(precisions)) == 1 else ",".join(precisions)

    def classifier(self, prompts: Sequence[LabelPrompts]) -> Scorer:
        """Encode prompts, each distinct sentence once for each model."""
        with self._use():
            if not self.is_ensemble:
                return self.member.classifier(prompts)
            return Ensemble(tuple(member.classifier(member.own(prompts)) for member in self.members))

    def embed_texts(self, sentences: Sequence[str]) -> npt.NDArray[np.float32]:
        """Encode T sentences with the one model: (T, D) float32, rows of length 1.

            >>> screener.embed_texts(["an enlarged heart", "clear lungs"]).shape
            (2, 384)

        Raises:
            UsageError: it is an ensemble, or scores by attention.
            TokenizerError: a sentence is too long for the model.
        """
        self.member.require_embeddings()
        with self._use():
            return self.member.embed_texts(sentences)

    def notes(self, *, on_keeping: bool = True) -> list[str]:
        """What to know of the models before they are asked, see `cxrzero.member.Member.notes`."""
        return [note for member in self.members for note in member.notes(on_keeping=on_keeping)]

    def stream(
        self,
        refs: Iterable[ImageRef],
        scorer: Scorer,
        prompts: Sequence[LabelPrompts],
        stats: RunStats | None = None,
        on_item: Callable[[Item], None] | None = None,
        in_memory: bool = False,
    ) -> Generator[Prediction, None, None]:
        """Predict row by row in constant memory.

        Args:
            on_item: as in `cxrzero.pipeline.run.Pipeline.run`.
            in_memory: some of the films are, so threads of this process decode them.
        """
        self._use.check()
        embedders = tuple(member.embedder(self.decode_options) for member in self.members)
        film_bytes = sum(member.bundle.film_bytes for member in self.members)
        blocks = blocks_by(self.cache_by, self.store, self.reader.content, self.workers, self.batch_size, film_bytes)
        pipeline = Pipeline(self._open_decoders(in_memory), embedders, self.batch_size, self.selection, blocks)
        labels = dict.fromkeys(prompt.label for prompt in prompts)
        return self._use.through(pipeline.run(refs, scorer, labels, RunStats() if stats is None else stats, on_item))

    def _open_decoders(self, in_memory: bool = False) -> OpenDecoders:
        preprocessings = preprocessings_of(self.members)
        if in_memory or self.decode_in == "threads":
            reader = self.reader
            threads = partial(ThreadDecoders, expect=reader.expect, hurried=reader.hurried)
            return partial(threads, self.decode, preprocessings, self.workers)
        from cxrzero.pipeline.processes import ProcessDecoders

        plain = partial(self.reader.decode, options=self.decode_options)  # processes need no models
        processes = partial(ProcessDecoders, waiting=self.batch_size, expect=self.reader.expect)
        return partial(processes, plain, preprocessings, self.workers)

    def decode(self, film: ImageRef | str) -> Iterator[Radiograph]:
        """The upright pictures of one film, as it was found or by its path, one at a time."""
        return self.reader.decode(film, self.decode_options, self.gpu_frames)


def _gpu_frames(options: DecodeOptions, gpu: int) -> GpuFrames:
    if options.fast_side is not None:
        raise UsageError("--gpu-decode decodes all of a film, --fast-decode less of it; take one of them")
    from cxrzero.images.nvjpeg2000 import GpuFrames

    return GpuFrames(gpu)
