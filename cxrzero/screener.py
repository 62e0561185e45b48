"""The Python API: one object that holds a model and answers questions about images."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
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
    MapMethod,
    Notify,
    Precision,
    gpu_number,
    silent,
)
from cxrzero.display.oneline import line
from cxrzero.display.progress import Watched
from cxrzero.embeddings.ask import Hit, nearest, nothing, scored_rows
from cxrzero.embeddings.embeddings import Embeddings
from cxrzero.embeddings.origin import Origin
from cxrzero.embeddings.rows import without_scores
from cxrzero.errors import ImagesEndedError, LabelError, NoInputError, RunError, UsageError
from cxrzero.files import installed_versions
from cxrzero.heatmap.arrays import FilmMaps
from cxrzero.images.flags import MIN_SIDE
from cxrzero.images.radiograph import DecodeOptions, Radiograph
from cxrzero.member import DECODING_PACKAGES, Member, members_of, preprocessings_of
from cxrzero.model.score import Ensemble, Scorer
from cxrzero.pipeline.hashing import CACHE_BY, blocks_by
from cxrzero.pipeline.items import Frame, Item, RunStats
from cxrzero.pipeline.onethread import OneThread
from cxrzero.pipeline.run import Pipeline
from cxrzero.pipeline.selection import Selection
from cxrzero.pipeline.threads import DECODE_IN, PROCESSES_FROM, OpenDecoders, ThreadDecoders
from cxrzero.prediction import Prediction, Predictions
from cxrzero.prompts import LabelPrompts, resolve_prompts
from cxrzero.prompts.ask import entries_of
from cxrzero.prompts.bank import BUILT_IN
from cxrzero.prompts.lint import Finding
from cxrzero.prompts.remarks import UNMEASURED, lines, remarks_on
from cxrzero.registry import resolve_models
from cxrzero.remote.objects import Objects
from cxrzero.sources import ImageRef
from cxrzero.sources.given import Given
from cxrzero.sources.pictures import Image, Images, ValueRange
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


class Screener:
    """Zero-shot screening with one model, or with an ensemble.

        >>> with Screener() as screener:
        ...     rows = screener.predict("films/", labels=["pneumonia", "cardiomegaly"])
        >>> rows[0].path, rows[0].scores["cardiomegaly"] > 0.9
        ('films/cardiomegaly.png', True)
        >>> table = rows.to_pandas()

    It is not thread-safe: while one thread predicts, embeds or asks, another one that does gets a UsageError. It cannot
    be pickled, nor used in a process that was forked after it was made. `close`, or the end of a `with` block, ends its
    connections, those of `archives` and `objects` too, and closes the cache.

    Args:
        model: what --model takes (docs/models.md): a bundle's folder, a known name, a checkpoint. Several are an
            ensemble.
        device: "cpu"; "cuda" or "cuda:N", which must run on that GPU; "auto" takes CUDA where it works.
        backend: "onnxruntime", "openvino", "torch"; "auto" takes what docs/backends.md says.
        precision: "fp32", "fp16", "bf16", "int8", of the image encoder; "auto" takes the fastest one whose deviation
            is known and small.
        batch_size: frames that are encoded together; None: 32 on a CPU, 256 on a GPU.
        workers: files that are decoded at once; None: one per core that the process may use, at most 16; twice as many
            with `gpu_decode`.
        decode_in: "threads"; "processes", faster with many workers, for which a script needs its
            `if __name__ == "__main__":`; "auto" takes them from 8 workers on, beside a GPU from 2.
        decode_options: how images are decoded.
        selection: which readable images are left out; None scores them all.
        cache: keep embeddings in the user's cache folder, or the one given, and use those there (docs/cache.md).
        cache_by: "path": a film is known where it is; "content": wherever it goes, for which it is hashed once.
        cache_large: also keep films of which more than 1 MiB each is to be kept (some models that score by attention).
        fast_decode: decode JPEG and JPEG 2000 films no larger than needed, see `DecodeOptions.fast_side`.
        gpu_decode: decode lossless JPEG 2000 frames of DICOM files on the GPU of `device`, to the same
            pixels; the rest in threads of this process.
        archives: of archives whose addresses are read (docs/archive.md); None reads from none.
        objects: of object stores and web servers, the same (docs/places.md).
        notify: is told before something slow happens, such as the import of a checkpoint, and what there is to say of
            the labels; by default nobody is.

    Raises:
        UsageError: a number below 1, an unknown word, no model at all, or the same one twice; both kinds of decoding.
        MissingExtraError: `gpu_decode` without nvImageCodec.
        AmbiguousModelError: a model's name means two things here.
        BundleError: the model is missing, damaged or unknown.
        ImportModelError: the checkpoint cannot become a bundle.
        DeviceError: CUDA was asked for and cannot run, or cannot decode.
        ConfigError: the precision is not offered for this model, backend and device.
        MissingExtraError: the backend, or what importing the checkpoint needs, is not installed.
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

    def predict(
        self,
        images: Images | None = None,
        labels: Sequence[str] | None = None,
        *,
        prompts: str | None = None,
        calibration: PathLike | None = None,
        column: str | None = None,
        value_range: ValueRange | None = None,
        progress: bool = False,
        paths: Images | None = None,
    ) -> Predictions:
        """Score images.

            >>> rows = screener.predict("films/normal.png", labels=["cardiomegaly"])
            >>> rows[0].status, rows[0].scores["cardiomegaly"] < 0.5
            ('ok', True)

        Args:
            images: one image or an iterable of them. A path is a file, a folder (searched recursively) or an address;
                "@list.txt" names a file of paths. What else an image may be: docs/api.md. One without a name is called
                by its place, "image 1"; a pair (name, image) has its own.
            labels: findings in plain words; None asks the calibration's, and without one the model's own list.
            prompts: a prompts file, or "default" for the built-in bank; None asks by the model's own templates.
            calibration: file of `cxrzero eval`, or the text "model" for the one in the model's bundle (a file of that
                name is "./model"); the rows then have `calibrated` and `decision`.
            column: of rows (mappings), which of their values is the image; None: the only one that is.
            value_range: what is black and what is white in floating point arrays, for example (0.0, 1.0).
            progress: show how far it is, its rate and the time left: on standard error, or in a notebook.
            paths: what `images` was called before 0.3.

        Returns:
            One row per frame, failed or skipped image, in the order of the contract. An unreadable image is a row
            with status "failed", not an exception.

        Raises:
            ImageInputError: something given is no image; nothing was run.
            NoInputError: a path does not exist, or nothing in it is an image.
            ImagesEndedError: a program's own iterable raised; it has the rows so far.
            LabelError: labels that cannot be columns of one table, or that the calibration lacks.
            ConfigError: the calibration was fitted for another model or other prompts, or the model has none.
            TokenizerError: a label is too long for the model.
            ArchiveError: an archive does not answer, or refuses.
            RemoteError: an object store or web server does not answer, or refuses.
        """
        if paths is not None:
            warnings.warn("paths= is called images= now, and will be gone with 0.4", DeprecationWarning, stacklevel=2)
            images = paths if images is None else images
        given = self._given(images, column, value_range)
        rows = Predictions()
        try:
            rows.extend(self._asked(given, labels, prompts, calibration, progress))
            rows.read_with = None if given.gave_pictures else self.decode_options
        except ImagesEndedError as error:
            error.rows = rows
            raise
        return rows

    def iter(
        self,
        images: Images | None,
        labels: Sequence[str] | None = None,
        *,
        prompts: str | None = None,
        calibration: PathLike | None = None,
        column: str | None = None,
        value_range: ValueRange | None = None,
        progress: bool = False,
    ) -> Generator[Prediction, None, None]:
        """Score images one after the other, in memory that does not grow with their number.

            >>> for row in screener.iter("films/", ["cardiomegaly"]):
            ...     if row.scores["cardiomegaly"] > 0.9:
            ...         print(row.path)
            films/cardiomegaly.png

        Everything is as in `predict`; what is wrong with the request is said now, and not with the first row.
        """
        given = self._given(images, column, value_range)
        return self._asked(given, labels, prompts, calibration, progress)

    def _asked(
        self,
        given: Given,
        labels: Sequence[str] | None,
        prompts: str | None,
        calibration: PathLike | None,
        progress: bool,
    ) -> Generator[Prediction, None, None]:
        asked = self.prompts(labels, prompts, calibration)
        applied = self.calibration(calibration, asked) if calibration is not None else None
        remarks = self.remarks(asked, is_typed=labels is not None or prompts not in (None, BUILT_IN))
        for note in (*self.notes(), *lines(remarks), *(applied.notes() if applied else ())):
            self._notify(note)
        scorer: Scorer = self.classifier(asked)
        return self._rows(given, applied(scorer) if applied else scorer, asked, progress=progress)

    def _given(self, images: Images | None, column: str | None, value_range: ValueRange | None) -> Given:
        return Given(
            images, column=column, value_range=value_range, archives=self.archives, objects=self.objects,
            by_content=self.cache_by == "content" and self.store is not None,
        )  # fmt: skip

    def _rows(
        self,
        given: Given,
        scorer: Scorer,
        asked: Sequence[LabelPrompts],
        on_item: Callable[[Item], None] | None = None,
        progress: bool = False,
    ) -> Generator[Prediction, None, None]:
        is_empty = True
        stream = self.stream(given.films(), scorer, asked, None, on_item, given.has_pictures)
        with closing(stream) as rows, Watched(given.tally, is_shown=progress) as watched:
            for row in rows:
                is_empty = False
                watched()
                yield row
        given.check_end()
        if is_empty:
            raise NoInputError(f"nothing to read in {given}: no image or DICOM file was found")

    def embed(
        self,
        images: Images,
        *,
        column: str | None = None,
        value_range: ValueRange | None = None,
        progress: bool = False,
    ) -> Embeddings:
        """Compute the embeddings of images, or take them from the cache.

            >>> screener.embed("films/").numpy().shape
            (8, 384)

        Args:
            images: as of `predict`.
            column: as of `predict`.
            value_range: as of `predict`.
            progress: as of `predict`.

        Returns:
            (N, D) float32 with the rows of the N films, and of those that could not be read; an ensemble's side by
            side. `score` asks about them, without the films.

        Raises:
            ImagesEndedError: a program's own iterable raised; it has the `embeddings` so far. Else as `predict`.
        """
        given, origin = self._given(images, column, value_range), self.origin()
        rows = Predictions()
        vectors = bytearray()

        def made() -> Embeddings:
            found = np.frombuffer(bytes(vectors), "<f4").astype(np.float32, copy=False)
            return Embeddings(rows, found.reshape(-1, origin.embed_dim), origin)

        def keep(item: Item) -> None:
            if isinstance(item, Frame) and item.left_out is None:
                vectors.extend(b"".join(item.embeddings))

        try:
            rows.extend(map(without_scores, self._rows(given, nothing, (), keep, progress)))
            rows.read_with = None if given.gave_pictures else self.decode_options
        except ImagesEndedError as error:
            error.embeddings = made()
            raise
        return made()

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

    def score(
        self,
        embeddings: Embeddings,
        labels: Sequence[str] | None = None,
        *,
        prompts: str | None = None,
        calibration: PathLike | None = None,
    ) -> Predictions:
        """Ask about films that were embedded before: what `predict` says of them, without the films.

            >>> kept = screener.embed("films/")
            >>> screener.score(kept, ["cardiomegaly"]) == screener.predict("films/", ["cardiomegaly"])
            True

        Args:
            embeddings: of this model, in this precision.
            labels: as of `predict`.
            prompts: as of `predict`.
            calibration: as of `predict`.

        Returns:
            The rows of `predict`, those of films that could not be read too.

        Raises:
            ConfigError: another model made the embeddings; and see `predict`.
            LabelError: see `predict`.
            TokenizerError: see `predict`.
        """
        embeddings.origin.require(self.origin())
        asked = self.prompts(labels, prompts, calibration)
        applied = self.calibration(calibration, asked) if calibration is not None else None
        scorer: Scorer = self.classifier(asked)
        asked_labels = dict.fromkeys(prompt.label for prompt in asked)
        rows = scored_rows(embeddings, applied(scorer) if applied else scorer, asked_labels)
        read_with = embeddings.rows.read_with if isinstance(embeddings.rows, Predictions) else None
        return Predictions(rows, read_with=read_with)

    def search(
        self,
        films: Embeddings | Images,
        text: str | None = None,
        *,
        like: Image | None = None,
        top: int = 20,
        column: str | None = None,
        value_range: ValueRange | None = None,
        progress: bool = False,
    ) -> list[Hit]:
        """The films nearest to a sentence, or to an example, nearest first.

            >>> hits = screener.search("films/", like="films/cardiomegaly.png", top=2)
            >>> hits[0]
            <Hit 1: cosine 1.000, 'films/cardiomegaly.png' frame 1>

        Args:
            films: kept embeddings of this model, or images, which are embedded (or known to the cache).
            text: what to look for.
            like: an image to look for films like it; give this or `text`.
            top: how many.
            column: as of `predict`, for `films` and `like`.
            value_range: the same.
            progress: as of `predict`.

        Raises:
            UsageError: neither text nor example, or both; the model is an ensemble.
            RunError: the example cannot be read.
            ConfigError: another model made the embeddings.
        """
        if (text is None) == (like is None):
            raise UsageError("say what to look for: a text, or an image with like=")
        if top < 1:
            raise UsageError("top must be at least 1")
        self.member.require_embeddings()  # of an ensemble no film has one embedding
        kept = (
            films
            if isinstance(films, Embeddings)
            else self.embed(films, column=column, value_range=value_range, progress=progress)
        )
        kept.origin.require(self.origin())
        if text is not None:
            return nearest(kept, self.embed_texts([text])[0], top)
        assert like is not None
        example = self.embed(like, column=column, value_range=value_range)
        if not len(example):
            raise RunError(f"the example cannot be read: {example.rows[0].error}")
        return nearest(kept, example.image_embeds[0], top)

    def heatmap(
        self,
        image: PathLike,
        labels: Sequence[str] | None = None,
        *,
        prompts: str | None = None,
        method: MapMethod = "auto",
        frame: int = 1,
    ) -> FilmMaps:
        """Where in a film each label is seen, on the film's own pixels (docs/heatmap.md).

            >>> screener.heatmap("films/effusion_left.png", ["pleural effusion"], method="patch")
            <FilmMaps of 'films/effusion_left.png' frame 1: 1 label by patch, on 512 × 512 pixels>

        Args:
            image: a file.
            labels: as in `predict`.
            prompts: as in `predict`.
            method: "patch" needs one model that embeds patches, "attention" one whose scorer says where it looks,
                "occlusion" takes any; "auto" takes what was measured better.
            frame: 1-based.

        Raises:
            NoInputError: the file does not exist, or has no such frame.
            RunError: it cannot be read.
            ConfigError: patches or attention are asked of a model that has none.
            LabelError: see `prompts`.
        """
        from cxrzero.heatmap.one import map_one

        asked = self.prompts(labels, prompts)
        with self._use():
            return map_one(self, os.fspath(image), asked, method, frame, self._notify)

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
