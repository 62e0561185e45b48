"""From a user's encoders to a bundle: read, tried as they are, rewritten, tried again; whole or not at all."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from cxrzero.backends.base import IMAGE, TEXT
from cxrzero.convert.graphs import move_weights
from cxrzero.convert.labels import LABELS
from cxrzero.convert.own.ends import End, ImageGraph, TextGraph, image_graph, text_graph
from cxrzero.convert.own.external import is_external, values_of
from cxrzero.convert.own.judging import (
    Rows,
    check_alone,
    check_same,
    cosine,
    is_normalised,
    lengths,
    rows_of,
)
from cxrzero.convert.own.options import OwnEncoders
from cxrzero.convert.own.reading import read_graph
from cxrzero.convert.own.rewriting import Change, rewritten_image, rewritten_text
from cxrzero.convert.own.steps import Steps, read_steps
from cxrzero.convert.own.trial import Trial
from cxrzero.convert.own.words import Words, read_words
from cxrzero.errors import ImportModelError, OutputError, OutputExistsError
from cxrzero.files import cannot_write, sha256_of, software, whole_folder
from cxrzero.model.bundle import describe_files, load_bundle
from cxrzero.model.model_json import IMAGE_ENCODER, MODEL_JSON, SCHEMA_VERSION, TEXT_ENCODER, TOKENIZER, Scoring
from cxrzero.model.weights import IMAGE_WEIGHTS
from cxrzero.phantom import draw

LINEAGE = "own ONNX encoders"
VERSIONS = ("onnx", "onnxruntime-gpu", "onnxruntime", "tokenizers")
TRIED = ("pneumonia", "pleural effusion", "enlarged heart")
MAX_FIXED_BATCH = 64
MAX_TEXT_WEIGHTS = 2**31 - 2**24  # beside the graph, of a message of protobuf
# Below this, embeddings change with how far a text is padded.
PADDING_COSINE = 0.999
FILM_SIDE = 320  # pixels, of what is drawn


def import_encoders(asked: OwnEncoders, out: Path, name: str) -> tuple[str, ...]:
    """Make a bundle of a user's encoders.

    Args:
        out: folder of the bundle; must not exist.
        name: of the model.

    Returns:
        What was found, changed and measured, a line each.

    Raises:
        OutputExistsError: `out` is there already.
        OutputError: it cannot be written; nothing stays.
        NoInputError, ConfigError, ImportModelError: one of the files is missing, refused, or leaves a choice.
        InexactExportError: the result would not give what the encoders give.
    """
    if out.exists():
        raise OutputExistsError(f"{out} exists; choose another --out or --name, or delete it")
    steps = read_steps(asked.steps)
    whole = read_graph(asked.image)
    image = image_graph(whole, asked.image, asked.image_output)
    if asked.text != asked.image:
        whole = read_graph(asked.text)
    text = text_graph(whole, asked.text, asked.text_output)
    del whole
    _check_pictures(image, steps)
    words = read_words(asked, text)
    try:
        with whole_folder(out) as folder:
            found = _Import(asked, steps, image, text, words, folder).write(name)
            load_bundle(folder)
            size = sum(file.stat().st_size for file in folder.iterdir()) / 1e6
    except OSError as error:
        hint = "; free some space or choose another --out" if error.errno == errno.ENOSPC else ""
        raise OutputError(f"{cannot_write(out, error)}{hint}; nothing was left there") from error
    return (*found, f"size: {size:.1f} MB")


class _Import:
    """The way from graphs that were read to the files of a bundle in `folder`."""

    def __init__(
        self, asked: OwnEncoders, steps: Steps, image: ImageGraph, text: TextGraph, words: Words, folder: Path
    ) -> None:
        self.asked, self.steps, self.words, self.folder = asked, steps, words, folder
        self.image, self.text = image, text
        self.lines: list[str] = []

    def write(self, name: str) -> tuple[str, ...]:
        """Write all files; what is said of it, a line each."""
        _store_image(self.image, self.folder)
        _store_text(self.text, self.folder)
        size = sum(file.stat().st_size for file in self.folder.iterdir())
        with Trial(2 * size) as trial:
            least = min(self._image(trial), self._text(trial))
        (self.folder / TOKENIZER).write_text(self.words.content, encoding="utf-8", newline="\n")
        self.lines += [
            f"scoring: {_in_words(self.asked.scoring)}",
            f"exactness: cosine with your graphs at least {least:.7f} on drawn radiographs, noise and texts; the same "
            "alone and in a batch",
        ]
        content = self._described(name, least) | {"files": describe_files(self.folder)}
        text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
        (self.folder / MODEL_JSON).write_text(text, encoding="utf-8")
        return tuple(self.lines)

    def _image(self, trial: Trial) -> float:
        """Try the image encoder, rewrite it, try it again."""
        path, image, size = self.asked.image, self.image, self.steps.preprocess.image_size
        pixels = _pictures(self.steps)
        feeds = [{image.input.name: _as_given(each[None], image)} for each in pixels]
        rows = rows_of(trial.run(self.folder / IMAGE_ENCODER, path, feeds), path)
        self.width = rows.shape[1]
        change = Change(not is_normalised(rows))
        _write(rewritten_image(image, size, self.width, change), self.folder / IMAGE_ENCODER)
        made = self._again(trial, path, IMAGE_ENCODER, IMAGE.input, pixels, image.input)
        self.lines += [*_of_graph("image", path, image.input, image.output, image.graph.opset, rows, change)]
        self.lines += [f"pictures: {size[0]} × {size[1]} pixels, by {self.asked.steps.name}{_of_pictures(image)}"]
        return check_same(rows, made, path)

    def _text(self, trial: Trial) -> float:
        """Try the text encoder, rewrite it, try it again."""
        path, text, words = self.asked.text, self.text, self.words
        ids, is_token = words.encode(_sentences(self.asked, words))
        answers = trial.run(self.folder / TEXT_ENCODER, path, list(_feeds(text, ids, is_token)))
        rows = rows_of(answers, path)
        if rows.shape[1] != self.width:
            raise ImportModelError(
                f"{self.asked.image} gives {self.width} numbers for a picture, {path} {rows.shape[1]} for a text: they do "
                "not belong together"
            )
        self._try_largest_id(trial, ids, is_token)
        self._try_padding(trial, ids, is_token, rows)
        change = Change(not is_normalised(rows), words.tokenizer.pad_id, words.ends_with_pad)
        _write(rewritten_text(text, ids.shape[1], self.width, change), self.folder / TEXT_ENCODER)
        made = self._again(trial, path, TEXT_ENCODER, TEXT.input, ids, text.ids)
        derived = [each.name for each in (text.mask, text.kinds) if each is not None]
        self.lines += [*_of_graph("text", path, text.ids, text.output, text.graph.opset, rows, change)]
        self.lines += [f"text: {name} is made inside the graph" for name in derived]
        self.lines += [f"tokenizer: {line}" for line in words.stated]
        return check_same(rows, made, path)

    def _again(
        self, trial: Trial, path: Path, file: str, name: str, rows: npt.NDArray[Any], given: End
    ) -> npt.NDArray[Any]:
        """What the rewritten graph gives, if that is the same in every company."""
        batches = [rows, rows, *(rows[n : n + 1] for n in range(len(rows)))]
        freed = given.fixed_batch is not None
        try:
            together, again, *alone = trial.run(self.folder / file, path, [{name: batch} for batch in batches])
        except ImportModelError as error:
            if not freed:
                raise
            raise ImportModelError(
                f"{path} was exported for batches of {given.fixed_batch}, and takes no other: {error}. Export it with a free "
                "batch axis (dynamic_axes)"
            ) from error
        check_alone(together, again, alone, path, freed)
        return together

    def _try_largest_id(self, trial: Trial, ids: npt.NDArray[np.int64], is_token: npt.NDArray[np.bool_]) -> None:
        probe = ids[:1].copy()
        probe[0, 1 if is_token[0].sum() > 2 else 0] = self.words.largest
        [feed] = _feeds(self.text, probe, is_token[:1])
        try:
            trial.run(self.folder / TEXT_ENCODER, self.asked.text, [feed])
        except ImportModelError as error:
            raise ImportModelError(
                f"{error}. That is the largest id of {self.asked.tokenizer}, {self.words.largest:,}: they do not belong "
                "together"
            ) from error

    def _try_padding(
        self, trial: Trial, ids: npt.NDArray[np.int64], is_token: npt.NDArray[np.bool_], rows: Rows
    ) -> None:
        """Say whether a text means something else where it is padded less; a wrong padding id shows like that."""
        if self.text.length is not None:
            return
        count = max(2, int(is_token[0].sum()))
        feeds = list(_feeds(self.text, ids[:1, :count], is_token[:1, :count]))
        short = rows_of(trial.run(self.folder / TEXT_ENCODER, self.asked.text, feeds), self.asked.text)
        if (found := cosine(short, rows[:1])) < PADDING_COSINE:
            self.lines.append(
                f"NOTE: a text of {count} tokens has another embedding padded to {ids.shape[1]} than alone (cosine "
                f"{found:.3f}). That is right for models that are trained at one length, as SigLIP; else the padding id or "
                "the context length is wrong"
            )

    def _described(self, name: str, least: float) -> dict[str, Any]:
        """The content of model.json but for its files. What nobody stated is null."""
        asked = self.asked
        return {
            "schema_version": SCHEMA_VERSION,
            "name": name,
            "architecture": LINEAGE,
            "activation": None,
            "embed_dim": self.width,
            "image_size": list(self.steps.preprocess.image_size),
            "context_length": self.words.tokenizer.context_length,
            "pad_id": self.words.tokenizer.pad_id,
            "preprocess": self.steps.listed,
            "scoring": _as_json(asked.scoring),
            "templates": {"positive": list(asked.templates.positive), "negative": list(asked.templates.negative)},
            "labels": LABELS,
            "license": asked.licence,
            "intended_use": None,
            "training_data": None,
            "results": [],
            "provenance": {
                "source": _fingerprints(asked, {*self.image.graph.files, *self.text.graph.files}),
                "lineage": LINEAGE,
                "recognised": list(self.lines),
                "parity": {"least_cosine": least},
                "versions": software(VERSIONS),
            },
            "patch_embeds": None,
        }


def _check_pictures(image: ImageGraph, steps: Steps) -> None:
    made, path = steps.preprocess.image_size, image.graph.path
    if any(taken not in (None, given) for taken, given in zip(image.size, made, strict=True)):
        taken = " × ".join("any" if side is None else str(side) for side in image.size)
        raise ImportModelError(
            f"{path} takes pictures of {taken} pixels, the preprocessing gives {made[0]} × {made[1]}"
        )
    if image.channels == 1 and not steps.preprocess.is_grey:
        raise ImportModelError(
            f"{path} takes pictures of one channel, the preprocessing gives three that differ: state three times the same "
            "mean and standard deviation"
        )


def _store_image(image: ImageGraph, folder: Path) -> None:
    """The graph as it is, its weights where a bundle has them."""
    move_weights(image.graph.model.graph, folder / IMAGE_WEIGHTS, partial(values_of, graph=image.graph.path))
    _write(image.graph.model, folder / IMAGE_ENCODER)


def _store_text(text: TextGraph, folder: Path) -> None:
    """The graph as it is, with all its weights."""
    tensors = text.graph.model.graph.initializer
    size = sum(values_of(each, text.graph.path).nbytes for each in tensors)
    if size > MAX_TEXT_WEIGHTS:
        raise ImportModelError(
            f"{text.graph.path}: a text tower of {size:,} bytes does not fit into one ONNX file (2 GiB)"
        )
    for tensor in tensors:
        if is_external(tensor):
            tensor.CopyFrom(numpy_helper.from_array(np.asarray(values_of(tensor, text.graph.path)), tensor.name))
    _write(text.graph.model, folder / TEXT_ENCODER)


def _write(model: onnx.ModelProto, path: Path) -> None:
    path.write_bytes(model.SerializeToString())


def _pictures(steps: Steps) -> npt.NDArray[np.float32]:
    """(4, 3, H, W): three drawn radiographs as the encoder will see them, and noise."""
    noise = np.random.default_rng(0).integers(0, 256, (FILM_SIDE, FILM_SIDE), dtype=np.uint8)
    films = [draw(seed, FILM_SIDE).to_uint8() for seed in (0, 1, 2)]
    return np.stack([steps.preprocess(film) for film in (*films, noise)])


def _sentences(asked: OwnEncoders, words: Words) -> list[str]:
    templates = (*asked.templates.positive, *asked.templates.negative)
    return [*(template.replace("{}", label) for template in templates for label in TRIED), words.longest()]


def _as_given(pixels: npt.NDArray[np.float32], image: ImageGraph) -> npt.NDArray[Any]:
    """One picture (1, 3, H, W) as the user's graph takes it, as often as its batch is fixed to."""
    pixels = pixels[:, : image.channels]
    if image.channels_last:
        pixels = np.moveaxis(pixels, 1, -1)
    return _filled(pixels, image.input)


def _feeds(
    text: TextGraph, ids: npt.NDArray[np.int64], is_token: npt.NDArray[np.bool_]
) -> Iterator[dict[str, npt.NDArray[Any]]]:
    """Each text (M, L) as the user's graph takes it; masks are known here, not derived."""
    for row, mask in zip(ids, is_token, strict=True):
        given = [(text.ids, row), (text.mask, mask), (text.kinds, np.zeros_like(row))]
        yield {end.name: _filled(values[None], end) for end, values in given if end is not None}


def _filled(row: npt.NDArray[Any], end: End) -> npt.NDArray[Any]:
    if (end.fixed_batch or 1) > MAX_FIXED_BATCH:
        raise ImportModelError(
            f"the batch of {end} is fixed to so many; export it with a free batch axis (dynamic_axes)"
        )
    dtype = onnx.helper.tensor_dtype_to_np_dtype(end.dtype)
    return np.ascontiguousarray(np.repeat(row, end.fixed_batch or 1, axis=0).astype(dtype))


def _of_graph(what: str, path: Path, given: End, output: End, opset: int, rows: Rows, change: Change) -> Iterator[str]:
    yield f"{what}: {path.name}, opset {opset}, {given} → {output}, {rows.shape[1]} numbers"
    if change.normalise:
        low, high = lengths(rows)
        yield f"{what}: its embeddings have lengths from {low:.4g} to {high:.4g}; a normalisation to length 1 was added"
    if given.fixed_batch is not None:
        yield f"{what}: its batch was fixed to {given.fixed_batch} and is free now"


def _of_pictures(image: ImageGraph) -> str:
    changes = ["one of three equal channels is given to the graph"] * (image.channels == 1)
    changes += ["channels are moved to the last axis"] * image.channels_last
    return "; " + ", ".join(changes) if changes else ""


def _in_words(scoring: Scoring) -> str:
    if scoring.rule == "sigmoid":
        return f"sigmoid, p = σ({scoring.scale:.4g}·cos⁺ {scoring.bias:+.4g})"
    note = (
        "; 4.6052 is the logarithm of CLIP's 100: state it exponentiated" if abs(scoring.scale - 4.6052) < 1e-3 else ""
    )
    return f"softmax_pair, p = σ({scoring.scale:.4g}·(cos⁺ − cos⁻)){note}"


def _as_json(scoring: Scoring) -> dict[str, Any]:
    bias = {"bias": scoring.bias} if scoring.rule == "sigmoid" else {}
    return {"rule": scoring.rule, "scale": scoring.scale} | bias


def _fingerprints(asked: OwnEncoders, weights: set[Path]) -> dict[str, str]:
    """Name → SHA-256; of two files of one name the later one with what it is."""
    found: dict[str, str] = {}
    roles = {"image": asked.image, "text": asked.text, "tokenizer": asked.tokenizer, "steps": asked.steps}
    files = [*roles.items(), *(("weights", path) for path in sorted(weights, key=os.fsencode))]
    for role, path in files:
        digest = sha256_of(path)
        name = path.name if found.get(path.name, digest) == digest else f"{role}/{path.name}"
        found[name] = digest
    return found
