"""The Python API: one object that holds a model and answers questions about images."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import os
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from cxrzero._version import __version__
from cxrzero.backends import Backend, Device, Encoder, cpu_count, open_encoder
from cxrzero.backends.precision import Precision
from cxrzero.bundle import TEXT_ENCODER, TOKENIZER, Bundle
from cxrzero.cache.images import ImageCache
from cxrzero.cache.store import Store
from cxrzero.cache.texts import TextCache
from cxrzero.errors import LabelError, NoInputError, UsageError
from cxrzero.images import decode
from cxrzero.images.radiograph import DecodeOptions, Radiograph
from cxrzero.pipeline import Pipeline
from cxrzero.prediction import Prediction
from cxrzero.preprocess import Preprocess
from cxrzero.prompts import LabelPrompts, resolve_prompts
from cxrzero.registry import DEFAULT_MODEL, Notify, resolve_model, silent
from cxrzero.score import Classifier, Scorer, build_classifier
from cxrzero.selection import Selection
from cxrzero.sources import ImageRef, check_paths, find_images
from cxrzero.stream import Item, RunStats
from cxrzero.tokenizer import Tokenizer

if TYPE_CHECKING:
    from cxrzero.calibrated import AppliedCalibration

PathLike = str | os.PathLike[str]

# Frames of one encoder call. On a CPU a small batch fills the cores already; a GPU wants more.
BATCH_SIZES = {"cpu": 16, "cuda": 64}
TEXT_BATCH = 64
MAX_DEFAULT_WORKERS = 16
TEXT_PRECISION = "fp32"
# What stands between a file and its embedding besides this package: another version may give other pixels.
DECODING_PACKAGES = ("numpy", "pillow", "pydicom", "imagecodecs")


class Screener:
    """Zero-shot screening with one model.

        >>> from cxrzero import Screener
        >>> rows = Screener().predict("folder/", labels=["pneumonia", "edema"])
        >>> pandas.DataFrame(rows)

    Args:
        model: what --model takes (docs/models.md): a bundle's folder, a known name, a checkpoint.
        device: "cuda" must run on CUDA; "auto" takes CUDA where it works; `encoder.reason` says why.
        backend, precision: see `cxrzero.backends.open_encoder`.
        batch_size: frames of one encoder call; None: 16 on a CPU, 64 on a GPU.
        workers: decoding threads; None: one per core that the process may use, at most 16.
        decode_options: how images are decoded.
        selection: which readable images are left out; None scores them all.
        cache: keep embeddings in the user's cache folder and use those that are there (docs/cache.md).
        notify: is told before something slow happens, such as the import of a checkpoint.

    Raises:
        BundleError: the model is missing, damaged or unknown.
        DeviceError: CUDA was asked for and cannot run.
        ConfigError: the precision is not offered for this model, backend and device.
        MissingExtraError: the backend is not installed.
    """

    def __init__(
        self,
        model: PathLike = DEFAULT_MODEL,
        *,
        device: Device = "auto",
        backend: Backend = "auto",
        precision: Precision = "fp32",
        batch_size: int | None = None,
        workers: int | None = None,
        decode_options: DecodeOptions | None = None,
        selection: Selection | None = None,
        cache: bool = True,
        notify: Notify = silent,
    ) -> None:
        if any(number is not None and number < 1 for number in (batch_size, workers)):
            raise UsageError("batch_size and workers must be at least 1")
        self.bundle: Bundle = resolve_model(os.fspath(model), notify)
        self.tokenizer = Tokenizer(self.bundle.file(TOKENIZER), self.bundle.context_length, self.bundle.pad_id)
        self.preprocess = Preprocess(self.bundle.preprocess, self.bundle.image_size)
        self.encoder: Encoder = open_encoder(self.bundle, backend, device, precision)
        self.batch_size = batch_size or BATCH_SIZES[self.encoder.device]
        self.workers = workers or min(cpu_count(), MAX_DEFAULT_WORKERS)
        self.decode_options = decode_options or DecodeOptions()
        self.selection = selection or Selection()
        self.store: Store | None = Store() if cache else None

    def predict(
        self,
        paths: PathLike | Sequence[PathLike],
        labels: Sequence[str] | None = None,
        *,
        calibration: PathLike | None = None,
    ) -> list[Prediction]:
        """Score files and folders.

        Args:
            paths: a file, a folder (searched recursively), or several; "@list.txt" names a file of paths.
            labels: findings in plain words; None asks the model's own list.
            calibration: file of `cxrzero eval`; the rows then have `calibrated` and `decision`.

        Returns:
            One row per frame, failed or skipped file, in the order of the contract. An unreadable image is a row
            with status "failed", not an exception.

        Raises:
            NoInputError: a path does not exist, or nothing in it is an image.
            LabelError: labels that cannot be columns of one table, or that the calibration lacks.
            ConfigError: the calibration was fitted for another model or other prompts.
            TokenizerError: a label is too long for the model.
        """
        given = [os.fspath(paths)] if isinstance(paths, str | os.PathLike) else [os.fspath(path) for path in paths]
        check_paths(given)
        prompts = self.prompts(labels)
        applied = self.calibration(calibration, prompts) if calibration is not None else None
        scorer: Scorer = self.classifier(prompts)
        rows = list(self.stream(find_images(given), applied(scorer) if applied else scorer, prompts))
        if not rows:
            raise NoInputError(f"nothing to read in {', '.join(given)}: no image or DICOM file was found")
        return rows

    def prompts(self, labels: Sequence[str] | None = None, prompts: str | None = None) -> tuple[LabelPrompts, ...]:
        """The sentences asked for each label, see `cxrzero.prompts.resolve_prompts`."""
        if isinstance(labels, str) or not all(isinstance(label, str) for label in labels or ()):
            raise LabelError('labels must be a list of texts, for example ["pneumonia", "edema"]')
        return resolve_prompts(self.bundle, labels, prompts)

    def calibration(self, path: PathLike, prompts: Sequence[LabelPrompts]) -> AppliedCalibration:
        """Read a calibration for these prompts, see `cxrzero.calibrated.load_calibration`."""
        from cxrzero.calibrated import load_calibration  # brings the evaluation's modules along

        return load_calibration(Path(path), self.decisive(prompts), [prompt.label for prompt in prompts])

    def decisive(self, prompts: Sequence[LabelPrompts]) -> dict[str, Any]:
        """What decides the scores, by the keys of the run record."""
        scoring = self.bundle.scoring
        return {
            "precision": self.encoder.precision,
            "models": [
                {
                    "name": self.bundle.name,
                    "fingerprint": self.bundle.fingerprint_at(self.encoder.precision),
                    "files": dict(self.bundle.files),
                }
            ],
            "preprocess": [dict(step) for step in self.bundle.preprocess],
            "scoring": {"rule": scoring.rule, "scale": scoring.scale, "bias": scoring.bias},
            "prompts": [
                {"label": p.label, "positive": list(p.positive), "negative": list(p.negative)} for p in prompts
            ],
        }

    def classifier(self, prompts: Sequence[LabelPrompts]) -> Classifier:
        """Encode prompts, each distinct sentence once."""
        sentences = list(dict.fromkeys(text for p in prompts for text in (*p.positive, *p.negative)))
        row = {sentence: index for index, sentence in enumerate(sentences)}
        text_embeds = self.embed_texts(sentences)
        groups = [
            (text_embeds[[row[text] for text in p.positive]], text_embeds[[row[text] for text in p.negative]])
            for p in prompts
        ]
        return build_classifier(groups, self.bundle.scoring)

    def embed_texts(self, sentences: Sequence[str]) -> npt.NDArray[np.float32]:
        """Encode T sentences: (T, D) float32, rows of length 1; only those that the cache does not know.

        Raises:
            TokenizerError: one is too long for the model.
        """
        input_ids = self.tokenizer(sentences)  # also of known ones: it refuses what is too long
        cache = self._text_cache()
        known = cache.lookup(sentences) if cache else {}
        new = [row for row, sentence in enumerate(sentences) if sentence not in known]
        for start in range(0, len(new), TEXT_BATCH):
            rows = new[start : start + TEXT_BATCH]
            encoded = dict(zip((sentences[i] for i in rows), self.encoder.encode_texts(input_ids[rows]), strict=True))
            if cache:
                cache.keep(encoded)
            known.update(encoded)
        return np.stack([known[sentence] for sentence in sentences])

    def stream(
        self,
        refs: Iterable[ImageRef],
        scorer: Scorer,
        prompts: Sequence[LabelPrompts],
        stats: RunStats | None = None,
        on_item: Callable[[Item], None] | None = None,
    ) -> Generator[Prediction, None, None]:
        """As `predict`, row by row in constant memory; `on_item` as in `cxrzero.pipeline.Pipeline.run`."""
        stages = (self.decode, self.preprocess, self.encoder)
        pipeline = Pipeline(*stages, self.batch_size, self.workers, self.selection, self._image_cache())
        labels = dict.fromkeys(prompt.label for prompt in prompts)
        return pipeline.run(refs, scorer, labels, RunStats() if stats is None else stats, on_item)

    def decode(self, path: str) -> Iterator[Radiograph]:
        """The upright pictures of one file, one at a time."""
        return decode(Path(path), self.decode_options)

    def _image_cache(self) -> ImageCache | None:
        if self.store is None:
            return None
        decisive = {
            **self._engine(self.encoder.precision),
            "encoder": self.bundle.files[self.bundle.image_encoder_file(self.encoder.precision)],
            "preprocess": [dict(step) for step in self.bundle.preprocess],
            "decode": dataclasses.asdict(self.decode_options),
            "versions": [__version__, *map(importlib.metadata.version, DECODING_PACKAGES)],
        }
        return ImageCache(self.store, self.bundle.name, decisive, self.bundle.embed_dim)

    def _text_cache(self) -> TextCache | None:
        if self.store is None:
            return None
        decisive = {
            **self._engine(TEXT_PRECISION),
            "encoder": self.bundle.files[TEXT_ENCODER],
            "tokenizer": self.bundle.files[TOKENIZER],
            "context": [self.bundle.context_length, self.bundle.pad_id],
        }
        return TextCache(self.store, self.bundle.name, decisive, self.bundle.embed_dim)

    def _engine(self, precision: str) -> dict[str, Any]:
        return {"backend": self.encoder.backend, "device": self.encoder.device, "precision": precision}
