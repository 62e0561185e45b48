"""From a user's encoders to a bundle: read, tried as they are, rewritten, tried again; whole or not at all."""

from __future__ import annotations

import errno
import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from cxrzero.backends.base import IMAGE, IMAGE_TOKENS, TEXT, TEXT_TOKENS
from cxrzero.convert.graphs import MAX_INSIDE, move_weights, size_of
from cxrzero.convert.own.asked import OwnEncoders
from cxrzero.convert.own.described import described, in_words, note_example, of_graph, of_pictures, of_scorer, of_tokens
from cxrzero.convert.own.ends import End, ImageGraph, TextGraph, image_graph, text_graph
from cxrzero.convert.own.examples import picture_feeds, pictures, sentences, text_feeds
from cxrzero.convert.own.external import is_external, values_of
from cxrzero.convert.own.judging import Rows, check_alone, check_same, cosine, is_normalised, rows_of
from cxrzero.convert.own.reading import read_graph
from cxrzero.convert.own.rewriting import Change, rewritten_image, rewritten_text
from cxrzero.convert.own.scorer import ScorerGraph, import_scorer, read_scorer
from cxrzero.convert.own.steps import Steps, read_steps
from cxrzero.convert.own.trial import Trial
from cxrzero.convert.own.words import Words, read_words
from cxrzero.errors import ImportModelError, OutputError, OutputExistsError
from cxrzero.files import cannot_write, whole_folder
from cxrzero.model.bundle import describe_files, load_bundle
from cxrzero.model.model_json import IMAGE_ENCODER, MODEL_JSON, TEXT_ENCODER, TOKENIZER, schema_of
from cxrzero.model.weights import IMAGE_WEIGHTS, TEXT_WEIGHTS

# Below this, embeddings change with how far a text is padded.
PADDING_COSINE = 0.999


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
    towers = (IMAGE_TOKENS, TEXT_TOKENS) if asked.scorer else (IMAGE, TEXT)
    image = image_graph(whole, asked.image, asked.image_output, towers[0])
    if asked.text != asked.image:
        whole = read_graph(asked.text)
    text = text_graph(whole, asked.text, asked.text_output, towers[1])
    del whole
    scorer = read_scorer(asked.scorer) if asked.scorer else None
    _check_pictures(image, steps)
    words = read_words(asked, text)
    try:
        with whole_folder(out) as folder:
            found = _Import(asked, steps, image, text, scorer, words, folder).write(name)
            bundle = load_bundle(folder)
            if bundle.has_scorer:
                note_example(bundle)
            size = sum(file.stat().st_size for file in folder.iterdir()) / 1e6
    except OSError as error:
        hint = "; free some space or choose another --out" if error.errno == errno.ENOSPC else ""
        raise OutputError(f"{cannot_write(out, error)}{hint}; nothing was left there") from error
    return (*found, f"size: {size:.1f} MB")


class _Import:
    """The way from graphs that were read to the files of a bundle in `folder`."""

    def __init__(
        self,
        asked: OwnEncoders,
        steps: Steps,
        image: ImageGraph,
        text: TextGraph,
        scorer: ScorerGraph | None,
        words: Words,
        folder: Path,
    ) -> None:
        self.asked, self.steps, self.words, self.folder = asked, steps, words, folder
        self.image, self.text, self.scorer = image, text, scorer
        self.axes = 2 if scorer is None else 3  # of what an encoder gives
        self.lines: list[str] = []

    def write(self, name: str) -> tuple[str, ...]:
        """Write all files; what is said of it, a line each."""
        _store_image(self.image, self.folder)
        _store_text(self.text, self.folder)
        size = sum(file.stat().st_size for file in self.folder.iterdir())
        with Trial(2 * size) as trial:
            least = min(self._image(trial), self._text(trial))
            scored = self.scorer and import_scorer(trial, self.scorer, self.folder, self.films, self.texts)
        scoring = replace(self.asked.scoring, together=scored.together) if scored else self.asked.scoring
        (self.folder / TOKENIZER).write_text(self.words.content, encoding="utf-8", newline="\n")
        self.lines += [
            f"scoring: {in_words(scoring)}",
            *([of_scorer(scored)] if scored else []),
            f"exactness: cosine with your graphs at least {least:.7f} on drawn radiographs, noise and texts; the same "
            "alone and in a batch",
        ]
        files = describe_files(self.folder)
        graphs = (self.image.graph, self.text.graph, *([self.scorer.graph] if self.scorer else []))
        shapes = self.films.shape[1:], self.texts.shape[1:]
        content: dict[str, Any] = {"schema_version": schema_of(files)}
        content |= described(
            self.asked,
            self.steps,
            self.words.tokenizer,
            {file for graph in graphs for file in graph.files},
            scoring,
            name=name,
            space=of_tokens(*shapes) if scored else {"embed_dim": shapes[0][0], "patch_embeds": None},
            parity={"least_cosine": least} | ({"max_abs_logit_over_sd": scored.deviation} if scored else {}),
            said=self.lines,
        )
        content |= {"files": files}
        text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
        (self.folder / MODEL_JSON).write_text(text, encoding="utf-8")
        return tuple(self.lines)

    def _image(self, trial: Trial) -> float:
        """Try the image encoder, rewrite it, try it again."""
        path, image, size = self.asked.image, self.image, self.steps.preprocess.image_size
        pixels = pictures(self.steps)
        answers = trial.run(self.folder / IMAGE_ENCODER, path, list(picture_feeds(image, pixels)))
        rows = rows_of(answers, path, self.axes)
        change = Change(self.scorer is None and not is_normalised(rows))
        _write(rewritten_image(image, size, answers[0].shape[1:], change), self.folder / IMAGE_ENCODER)
        self.films = self._again(trial, path, IMAGE_ENCODER, IMAGE.input, pixels, image.input)
        self.lines += [*of_graph("image", path, image.input, image.output, image.graph.opset, rows, change)]
        self.lines += [f"pictures: {size[0]} × {size[1]} pixels, by {self.asked.steps.name}{of_pictures(image)}"]
        return check_same(rows, self.films, path)

    def _text(self, trial: Trial) -> float:
        """Try the text encoder, rewrite it, try it again."""
        path, text, words = self.asked.text, self.text, self.words
        ids, is_token = words.encode(sentences(self.asked, words))
        answers = trial.run(self.folder / TEXT_ENCODER, path, list(text_feeds(text, ids, is_token)))
        rows = rows_of(answers, path, self.axes)
        if self.scorer is None and rows.shape[1:] != self.films.shape[1:]:
            raise ImportModelError(
                f"{self.asked.image} gives {self.films.shape[1]} numbers for a picture, {path} {rows.shape[1]} for a "
                "text: they do not belong together"
            )
        self._try_largest_id(trial, ids, is_token)
        self._try_padding(trial, ids, is_token, rows)
        change = Change(self.scorer is None and not is_normalised(rows), words.tokenizer.pad_id, words.ends_with_pad)
        _write(rewritten_text(text, ids.shape[1], answers[0].shape[1:], change), self.folder / TEXT_ENCODER)
        self.texts = self._again(trial, path, TEXT_ENCODER, TEXT.input, ids, text.ids)
        self.lines += [*of_graph("text", path, text.ids, text.output, text.graph.opset, rows, change)]
        if text.mask is not None:
            self.lines.append(f"text: {text.mask.name} is derived from the padding id inside the graph")
        if text.kinds is not None:
            self.lines.append(f"text: {text.kinds.name} is all zeros, inside the graph")
        self.lines += [f"tokenizer: {line}" for line in words.stated]
        return check_same(rows, self.texts, path)

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
                f"{path} was exported for batches of {given.fixed_batch}, and takes no other: {error}. Export it with "
                "a free batch axis (dynamic_axes)"
            ) from error
        check_alone(together, again, alone, path, freed)
        return together

    def _try_largest_id(self, trial: Trial, ids: npt.NDArray[np.int64], is_token: npt.NDArray[np.bool_]) -> None:
        probe = ids[:1].copy()
        probe[0, 1 if is_token[0].sum() > 2 else 0] = self.words.largest
        [feed] = text_feeds(self.text, probe, is_token[:1])
        try:
            trial.run(self.folder / TEXT_ENCODER, self.asked.text, [feed])
        except ImportModelError as error:
            raise ImportModelError(
                f"{error}. That is the largest id of {self.asked.tokenizer}, {self.words.largest:,}: they do not "
                "belong together"
            ) from error

    def _try_padding(
        self, trial: Trial, ids: npt.NDArray[np.int64], is_token: npt.NDArray[np.bool_], rows: Rows
    ) -> None:
        """Say whether a text means something else where it is padded less; a wrong padding id shows like that."""
        if self.text.length is not None or self.scorer is not None:
            return
        count = max(2, int(is_token[0].sum()))
        feeds = list(text_feeds(self.text, ids[:1, :count], is_token[:1, :count]))
        short = rows_of(trial.run(self.folder / TEXT_ENCODER, self.asked.text, feeds), self.asked.text)
        if (found := cosine(short, rows[:1])) < PADDING_COSINE:
            self.lines.append(
                f"NOTE: a text of {count} tokens has another embedding padded to {ids.shape[1]} than alone (cosine "
                f"{found:.3f}). That is right for models that are trained at one length, as SigLIP; else the padding "
                "id or the context length is wrong"
            )


def _check_pictures(image: ImageGraph, steps: Steps) -> None:
    made, path = steps.preprocess.image_size, image.graph.path
    if any(taken not in (None, given) for taken, given in zip(image.size, made, strict=True)):
        taken = " × ".join("any" if side is None else str(side) for side in image.size)
        raise ImportModelError(
            f"{path} takes pictures of {taken} pixels, the preprocessing gives {made[0]} × {made[1]}"
        )
    if image.channels == 1 and not steps.preprocess.is_grey:
        raise ImportModelError(
            f"{path} takes pictures of one channel, the preprocessing gives three that differ: state three times the "
            "same mean and standard deviation"
        )


def _store_image(image: ImageGraph, folder: Path) -> None:
    """The graph as it is, its weights where a bundle has them."""
    move_weights(image.graph.model.graph, folder / IMAGE_WEIGHTS, partial(values_of, graph=image.graph.path))
    _write(image.graph.model, folder / IMAGE_ENCODER)


def _store_text(text: TextGraph, folder: Path) -> None:
    """The graph as it is, its weights in it where they fit."""
    graph, path = text.graph.model.graph, text.graph.path
    if size_of(text.graph.model) > MAX_INSIDE:
        move_weights(graph, folder / TEXT_WEIGHTS, partial(values_of, graph=path))
    else:
        for tensor in filter(is_external, graph.initializer):
            tensor.CopyFrom(numpy_helper.from_array(np.asarray(values_of(tensor, path)), tensor.name))
    _write(text.graph.model, folder / TEXT_ENCODER)


def _write(model: onnx.ModelProto, path: Path) -> None:
    path.write_bytes(model.SerializeToString())
