"""What published models' own code made of films, beside what a bundle makes of them.

`tests/convert/published/NAME.npz` holds a tiny model of a published layout: names and shapes of its tensors (the
values are drawn again by `random_state`), and what the authors' code computed. It is written
by `python benchmarks/published_models.py NAME --code CHECKOUT --tiny`.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image

from cxrzero import Screener
from cxrzero.convert import load_model
from cxrzero.convert.contents import contents_of, weight_files
from cxrzero.convert.weights import read_file
from cxrzero.errors import ImportModelError
from cxrzero.images import decode
from cxrzero.model.bundle import load_bundle
from cxrzero.model.preprocess import Preprocess
from cxrzero.model.tokenizer import Tokenizer
from tests.support.checkpoints import random_state

FOLDER = Path(__file__).resolve().parent.parent / "convert" / "published"
# Square, tall, wide, small: (height, width) of the films, by seed.
FILMS = ((400, 400), (512, 384), (300, 477), (64, 64))
COARSE = 40  # pixels between two known bytes of a film
MIN_COSINE, MAX_SCORES, MAX_PIXELS, MAX_PATCHES = 0.99999, 0.001, 1e-4, 1e-5
THINNED = 24  # rows and columns of pixel values that are kept


class Published:
    """A tiny model of a published layout, and what its authors' code made of `draw_films`."""

    def __init__(self, name):
        with np.load(FOLDER / f"{name}.npz") as file:
            arrays = dict(file)
        self.tensors = json.loads(str(arrays.pop("tensors")))
        self.raw = {key.removeprefix("raw."): arrays.pop(key) for key in list(arrays) if key.startswith("raw.")}
        self.faults = {key.removeprefix("fault."): arrays.pop(key) for key in list(arrays) if key.startswith("fault.")}
        self.expected = arrays

    def state(self, file=None):
        """The tensors of a file; of the only one if None."""
        entries = self.tensors[file or next(iter(self.tensors))]
        return {name: self._value(name, *entry) for name, entry in entries.items()}

    def _value(self, name, drawn_as, shape):
        if drawn_as is None:
            return torch.from_numpy(self.raw[name])
        return random_state({drawn_as: torch.empty(shape)})[drawn_as]

    @property
    def prompts(self):
        return [str(prompt) for prompt in self.expected["prompts"]]

    @property
    def labels(self):
        return [str(label) for label in self.expected["labels"]]


def drop(prefix):
    """A change of a state dict: a part of it is missing."""
    return lambda state: {name: value for name, value in state.items() if not name.startswith(prefix)}


def extra(name, *shape):
    """A change of a state dict: a tensor that the model does not have."""
    return lambda state: state | {name: torch.zeros(shape)}


def reshaped(name, *shape):
    """A change of a state dict: a tensor of another size."""
    return lambda state: state | {name: torch.zeros(shape)}


def refused(path, state, match, error=ImportModelError, **given):
    """Write a state dict, whatever it is wrapped in, and import it; it has to be refused in these words.

    Args:
        given: `card` or `tokenizer`, as an import takes them.
    """
    torch.save(state, path)
    with pytest.raises(error, match=match):
        load_model(path, **given)


def predicted(bundle, films, labels):
    """(N, L) probabilities of cxrzero predict."""
    rows = Screener(bundle, device="cpu", cache=False).predict(films, list(labels))
    return np.array([[row.scores[label] for label in labels] for row in rows], float)


def draw_films(folder):
    """Write the films that every expected array is about: smooth patterns of known bytes.

    A drawn radiograph would do as well, but for the grey levels that another version of NumPy rounds the other way.
    Python's bytes and Pillow's resize are the same everywhere.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for seed, (height, width) in enumerate(FILMS):
        size = (width // COARSE + 2, height // COARSE + 2)
        coarse = Image.frombytes("L", size, random.Random(seed).randbytes(size[0] * size[1]))
        coarse.resize((width, height), Image.Resampling.BICUBIC).save(folder / f"{seed}.png")
    return folder


def pack(name, source, expected, made_by):
    """Write tests/convert/published/NAME.npz from what an oracle wrote.

    Args:
        source: the file of weights, or the folder of them.
        expected: the oracle's arrays.
    """
    files = [source] if source.is_file() else weight_files(source)
    tensors: dict[str, dict[str, object]] = {}
    known: dict[str, torch.Size] = {}
    raw = {}
    for path in files:
        entries = tensors.setdefault(path.name, {})
        for key, value in contents_of(read_file(path), path).weights.items():
            drawn_as = _drawn_as(key, value, known)
            entries[key] = (drawn_as, list(value.shape))
            if drawn_as is None:
                raw[f"raw.{key}"] = value.numpy()
    kept = {key: value.astype(np.float32) if value.dtype == np.float64 else value for key, value in expected.items()}
    kept["pixel_values"] = thinned(kept["pixel_values"])
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / f"{name}.npz"
    np.savez_compressed(path, tensors=json.dumps(tensors), made_by=made_by, **raw, **kept)
    return path


def _drawn_as(key, value, known):
    """Under which name `random_state` gave these values: the key's, a part of it, or that of a tied tensor."""
    parts = key.split(".")
    names = [".".join(parts[start:]) for start in range(len(parts))]
    for name in [*names, *(each for each, shape in known.items() if shape == value.shape)]:
        if (
            value.ndim
            and value.is_floating_point()
            and torch.equal(random_state({name: value * 0})[name], value.float())
        ):
            known[name] = value.shape
            return name
    return None


def thinned(pixel_values):
    step = max(1, pixel_values.shape[-1] // THINNED)
    return pixel_values[:, :, ::step, ::step]


def answers(folder, films, prompts):
    """What a bundle's own graphs make of films.

    Returns:
        pixel_values, scores (N, P); of a dual encoder image_embeds, text_embeds and, where it has patches, patch_scores
        (cosines of the first film's patches, row by row, with the first prompt); else attention, where it has one.
    """
    bundle = load_bundle(folder)
    preprocess = Preprocess(bundle.preprocess, bundle.image_size)
    pixels = np.stack([preprocess(next(iter(decode(path))).pixels) for path in sorted(films.iterdir())])
    prompts = [bundle.book.get(prompt, prompt) for prompt in prompts]
    ids = Tokenizer(folder / "tokenizer.json", bundle.context_length, bundle.pad_id)(prompts)
    image_encoder, text_encoder = _graph(folder / "image_encoder.onnx"), _graph(folder / "text_encoder.onnx")
    images = np.concatenate([image_encoder(one[None])[0] for one in pixels])
    texts = np.concatenate([text_encoder(one[None])[0] for one in ids])
    if not (folder / "scorer.onnx").is_file():
        found = {"pixel_values": pixels, "image_embeds": images, "text_embeds": texts, "scores": images @ texts.T}
        if (folder / "patch_encoder.onnx").is_file():
            patches = _graph(folder / "patch_encoder.onnx")(pixels[:1])[0][0]
            found["patch_scores"] = patches.reshape(-1, patches.shape[-1]) @ texts[0]
        return found
    kept_as = json.loads((folder / "model.json").read_text("utf-8"))["tokens"]["dtype"]
    scores, *attention = _graph(folder / "scorer.onnx")(images.astype(kept_as).astype(np.float32), texts)
    return {"pixel_values": pixels, "scores": scores} | ({"attention": attention[0]} if attention else {})


def _graph(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()]
    return lambda *inputs: session.run(None, dict(zip(names, inputs, strict=True)))


def scores_of(expected):
    """The authors' logits (N, P), or their cosines."""
    return expected["logits"] if "logits" in expected else expected["image_embeds"] @ expected["text_embeds"].T


def deviations(ours, expected, scores=None):
    """How far a bundle is from the authors' code.

    Args:
        scores: the authors' (N, P) with a fault, in place of `expected`'s; rows of NaN are films without it.
    """
    right = scores_of(expected)
    far = np.abs(ours["scores"] - (right if scores is None else scores)) / right.std(axis=0)
    if scores is not None:
        far = far[~np.isnan(far).all(axis=1)]
    found = {"scores_over_sd": float(far.max())}
    embeds = [name for name in ("image_embeds", "text_embeds") if name in expected]
    for name in embeds:
        found[f"{name}_cosine"] = float((ours[name] * expected[name]).sum(axis=-1).min())
    if embeds:
        found["embeds"] = max(float(np.abs(ours[name] - expected[name]).max()) for name in embeds)
    if "patch_scores" in expected:
        found["patch_scores"] = float(np.abs(ours["patch_scores"] - expected["patch_scores"]).max())
    pixels, known = ours["pixel_values"], expected["pixel_values"]
    pixels = pixels if pixels.shape == known.shape else thinned(pixels)
    return found | {"pixel_values": float(np.abs(pixels - known).max())}


def agrees(found):
    cosines = [value for name, value in found.items() if name.endswith("_cosine")]
    return (
        found["scores_over_sd"] <= MAX_SCORES
        and found.get("patch_scores", 0.0) <= MAX_PATCHES
        and min(cosines, default=1.0) >= MIN_COSINE
        and found["pixel_values"] <= MAX_PIXELS
    )


def notices(ours, published, fault):
    """Whether the scores, as the authors' code would give them with a fault, are further away than the limit."""
    return deviations(ours, published.expected, published.faults[fault])["scores_over_sd"] > MAX_SCORES
