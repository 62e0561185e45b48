"""The Python API: one object that holds a model and answers questions about images."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from cxrzero.backends import Device, Encoder, cpu_count
from cxrzero.backends.onnxruntime import OnnxRuntimeEncoder
from cxrzero.bundle import TOKENIZER, Bundle
from cxrzero.errors import NoInputError
from cxrzero.images import decode
from cxrzero.images.radiograph import DecodeOptions, Radiograph
from cxrzero.pipeline import Pipeline, RunStats
from cxrzero.prediction import Prediction
from cxrzero.preprocess import Preprocess
from cxrzero.prompts import LabelPrompts, build_prompts, check_labels
from cxrzero.registry import DEFAULT_MODEL, resolve_model
from cxrzero.score import Classifier, build_classifier
from cxrzero.selection import Selection
from cxrzero.sources import ImageRef, check_paths, find_images
from cxrzero.tokenizer import Tokenizer

PathLike = str | os.PathLike[str]

# Frames of one encoder call. On a CPU a small batch fills the cores already; a GPU wants more.
BATCH_SIZES = {"cpu": 16, "cuda": 64}
TEXT_BATCH = 64
MAX_DEFAULT_WORKERS = 16


class Screener:
    """Zero-shot screening with one model.

        >>> from cxrzero import Screener
        >>> rows = Screener().predict("folder/", labels=["pneumonia", "edema"])
        >>> pandas.DataFrame(rows)

    Args:
        model: a bundle folder or the name of a known model.
        device: "cuda" must run on CUDA; "auto" takes CUDA where it works; `encoder.reason` says why.
        batch_size: frames of one encoder call; None: 16 on a CPU, 64 on a GPU.
        workers: decoding threads; None: one per core that the process may use, at most 16.
        decode_options: how images are decoded.
        selection: which readable images are left out; None scores them all.

    Raises:
        BundleError: the model is missing, damaged or unknown.
        DeviceError: CUDA was asked for and cannot run.
    """

    def __init__(
        self,
        model: PathLike = DEFAULT_MODEL,
        *,
        device: Device = "auto",
        batch_size: int | None = None,
        workers: int | None = None,
        decode_options: DecodeOptions | None = None,
        selection: Selection | None = None,
    ) -> None:
        self.bundle: Bundle = resolve_model(os.fspath(model))
        self.tokenizer = Tokenizer(self.bundle.file(TOKENIZER), self.bundle.context_length, self.bundle.pad_id)
        self.preprocess = Preprocess(self.bundle.preprocess, self.bundle.image_size)
        self.encoder: Encoder = OnnxRuntimeEncoder(self.bundle, device)
        self.batch_size = batch_size or BATCH_SIZES[self.encoder.device]
        self.workers = workers or min(cpu_count(), MAX_DEFAULT_WORKERS)
        self.decode_options = decode_options or DecodeOptions()
        self.selection = selection or Selection()

    def predict(self, paths: PathLike | Sequence[PathLike], labels: Sequence[str] | None = None) -> list[Prediction]:
        """Score files and folders.

        Args:
            paths: a file, a folder (searched recursively), or several; "@list.txt" names a file of paths.
            labels: findings in plain words; None asks the model's own list.

        Returns:
            One row per frame, failed or skipped file, in the order of the contract. An unreadable image is a row
            with status "failed", not an exception.

        Raises:
            NoInputError: a path does not exist, or nothing in it is an image.
            LabelError: labels that cannot be columns of one table.
            TokenizerError: a label is too long for the model.
        """
        given = [os.fspath(paths)] if isinstance(paths, str | os.PathLike) else [os.fspath(path) for path in paths]
        check_paths(given)
        prompts = self.prompts(labels)
        rows = list(self.stream(find_images(given), self.classifier(prompts), prompts))
        if not rows:
            raise NoInputError(f"nothing to read in {', '.join(given)}: no image or DICOM file was found")
        return rows

    def prompts(self, labels: Sequence[str] | None = None) -> tuple[LabelPrompts, ...]:
        """The sentences asked for each label, from the model's own templates."""
        return build_prompts(check_labels(self.bundle.labels if labels is None else labels), self.bundle.templates)

    def classifier(self, prompts: Sequence[LabelPrompts]) -> Classifier:
        """Encode prompts, each distinct sentence once."""
        sentences = list(dict.fromkeys(text for p in prompts for text in (*p.positive, *p.negative)))
        row = {sentence: index for index, sentence in enumerate(sentences)}
        input_ids = self.tokenizer(sentences)
        text_embeds = np.concatenate(
            [self.encoder.encode_texts(input_ids[i : i + TEXT_BATCH]) for i in range(0, len(input_ids), TEXT_BATCH)]
        )
        groups = [
            (text_embeds[[row[text] for text in p.positive]], text_embeds[[row[text] for text in p.negative]])
            for p in prompts
        ]
        return build_classifier(groups, self.bundle.scoring)

    def stream(
        self,
        refs: Iterable[ImageRef],
        classifier: Classifier,
        prompts: Sequence[LabelPrompts],
        stats: RunStats | None = None,
    ) -> Generator[Prediction, None, None]:
        """As `predict`, row by row in constant memory."""
        pipeline = Pipeline(self._decode, self.preprocess, self.encoder, self.batch_size, self.workers, self.selection)
        labels = tuple(prompt.label for prompt in prompts)
        return pipeline.run(refs, classifier, labels, RunStats() if stats is None else stats)

    def _decode(self, path: str) -> Iterator[Radiograph]:
        return decode(Path(path), self.decode_options)
