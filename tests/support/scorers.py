"""A bundle that scores by attention, by arithmetic that can be done in the head; no package but the core's needed.

A film's tokens are the mean greys of its quarters, in rows; a sentence's first letter says which of them it asks for,
and the logit is that grey between 0 and 1. Asked together, each logit is less the mean of all.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from tests.support.bundle import CONTEXT, SIDE, write_bundle
from tests.support.onnxfile import FLOAT, INT64, model, node, value

QUARTERS = ("a", "b", "c", "d")  # first letters: upper left, upper right, lower left, lower right
STEPS = [
    {"step": "resize", "height": SIDE, "width": SIDE, "interpolation": "bicubic"},
    {"step": "rescale", "factor": 1 / 255},
]


def write_scorer_bundle(
    path: Path,
    *,
    pairs: bool = False,
    together: bool = False,
    attention: bool = True,
    dtype: str = "float32",
    companions: tuple[str, ...] = (),
    scale: float = 4.0,
    bias: float = 0.0,
    **changes: Any,
) -> Path:
    """Write it; other keyword arguments replace keys of model.json."""
    write_bundle(path)
    graphs = {
        "image_encoder.onnx": _image_encoder(),
        "text_encoder.onnx": _text_encoder(Tokenizer.from_file(str(path / "tokenizer.json"))),
        "scorer.onnx": scorer(together, attention),
        "image_weights.bin": b"\0" * 64,
    }
    for name, data in graphs.items():
        (path / name).write_bytes(data)
    scoring: dict[str, Any] = {"rule": "scorer", "scale": scale, "bias": bias, "pairs": pairs}
    scoring["labels"] = "together" if together else "independent"
    stated = {
        "schema_version": 3,
        "name": "quarters",
        "preprocess": STEPS,
        "labels": ["apex", "base"],
        "templates": {"positive": ["{}"], "negative": ["c{}"]},
        "scoring": scoring | ({"companions": list(companions)} if companions else {}),
        "tokens": {"image": [4, 3], "text": [1, 4], "dtype": dtype},
        "attention": {"height": 2, "width": 2} if attention else None,
    }
    card = json.loads((path / "model.json").read_text()) | stated | changes
    del card["embed_dim"]
    (path / "model.json").write_text(json.dumps(card))
    return rehashed(path)


def rehashed(path: Path) -> Path:
    """With the hashes of the files as they are."""
    card = json.loads((path / "model.json").read_text())
    names = [*card["files"], *(name for name in ("image_weights.bin", "scorer.onnx") if name not in card["files"])]
    card["files"] = {name: {"sha256": hashlib.sha256((path / name).read_bytes()).hexdigest()} for name in names}
    (path / "model.json").write_text(json.dumps(card))
    return path


def quarters(*greys: int) -> np.ndarray[Any, Any]:
    """A film whose quarters have these greys, in rows."""
    return np.kron(np.array(greys, np.uint8).reshape(2, 2), np.ones((SIDE // 2, SIDE // 2), np.uint8))


def _image_encoder() -> bytes:
    nodes = [
        node("AveragePool", ["pixel_values"], ["pooled"], kernel_shape=[SIDE // 2] * 2, strides=[SIDE // 2] * 2),
        node("Reshape", ["pooled", "shape"], ["channels"]),
        node("Transpose", ["channels"], ["image_tokens"], perm=[0, 2, 1]),
    ]
    return model(
        nodes,
        {"shape": np.array([0, 3, 4], np.int64)},
        value("pixel_values", FLOAT, ["N", 3, SIDE, SIDE]),
        value("image_tokens", FLOAT, ["N", 4, 3]),
    )


def _text_encoder(tokenizer: Tokenizer) -> bytes:
    vectors = np.zeros((257, 4), np.float32)
    for place, letter in enumerate(QUARTERS):
        vectors[tokenizer.token_to_id(letter), place] = 1
    nodes = [
        node("Gather", ["input_ids", "first"], ["word"], axis=1),
        node("Gather", ["vectors", "word"], ["text_tokens"]),
    ]
    return model(
        nodes,
        {"vectors": vectors, "first": np.array([0], np.int64)},
        value("input_ids", INT64, ["L", CONTEXT]),
        value("text_tokens", FLOAT, ["L", 1, 4]),
    )


def scorer(together: bool = False, attention: bool = True, tokens: int = 4) -> bytes:
    """`tokens`: of a film, which the graph says that it takes."""
    nodes = [
        node("ReduceMean", ["image_tokens"], ["greys"], axes=[2], keepdims=0),
        node("Squeeze", ["text_tokens", "one"], ["asked"]),
        node("Transpose", ["asked"], ["columns"], perm=[1, 0]),
        node("MatMul", ["greys", "columns"], ["each" if together else "logits"]),
    ]
    if together:
        nodes += [
            node("ReduceMean", ["each"], ["mean"], axes=[1], keepdims=1),
            node("Sub", ["each", "mean"], ["logits"]),
        ]
    outputs = [value("logits", FLOAT, ["N", "L"])]
    numbers = {"one": np.array([1], np.int64)}
    if attention:
        nodes += [
            node("Unsqueeze", ["greys", "one"], ["films"]),
            node("Mul", ["films", "asked"], ["seen"]),
            node("Reshape", ["seen", "grid"], ["attention"]),
        ]
        numbers["grid"] = np.array([0, 0, 2, 2], np.int64)
        outputs.append(value("attention", FLOAT, ["N", "L", 2, 2]))
    inputs = [value("image_tokens", FLOAT, ["N", tokens, 3]), value("text_tokens", FLOAT, ["L", 1, 4])]
    return model(nodes, numbers, inputs, outputs)
