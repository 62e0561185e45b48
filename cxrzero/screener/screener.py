"""The Python API: one object that holds a model and answers questions about images."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Generator, Sequence
from contextlib import closing

import numpy as np

from cxrzero.choices import MapMethod
from cxrzero.display.progress import Watched
from cxrzero.embeddings.ask import Hit, nearest, nothing, scored_rows
from cxrzero.embeddings.embeddings import Embeddings
from cxrzero.embeddings.rows import without_scores
from cxrzero.errors import ImagesEndedError, NoInputError, RunError, UsageError
from cxrzero.heatmap.arrays import FilmMaps
from cxrzero.model.score import Scorer
from cxrzero.pipeline.items import Frame, Item
from cxrzero.prediction import Prediction, Predictions
from cxrzero.prompts import LabelPrompts
from cxrzero.prompts.bank import BUILT_IN
from cxrzero.prompts.remarks import lines
from cxrzero.screener.models import OpenModels, PathLike
from cxrzero.sources.given import Given
from cxrzero.sources.pictures import Image, Images, ValueRange


class Screener(OpenModels):
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
