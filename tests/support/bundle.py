"""A tiny real bundle: encoders written by hand, seconds to build, nothing trained, no package but the core's needed."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers

from tests.support.onnxfile import FLOAT, INT64, model, node, value

SIDE, WIDTH, CONTEXT = 16, 8, 32


def write_bundle(path: Path, seed: int = 0, **changes: Any) -> Path:
    """Write the tiny bundle; `seed` draws its weights, other keyword arguments replace keys of model.json."""
    path.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    (path / "image_encoder.onnx").write_bytes(image_encoder(rng))
    (path / "text_encoder.onnx").write_bytes(text_encoder(rng))
    (path / "tokenizer.json").write_text(byte_tokenizer().to_str(pretty=True), encoding="utf-8", newline="\n")
    names = ("image_encoder.onnx", "text_encoder.onnx", "tokenizer.json")
    card = {
        "schema_version": 1,
        "name": "tiny",
        "architecture": "pooled projection",
        "embed_dim": WIDTH,
        "image_size": [SIDE, SIDE],
        "context_length": CONTEXT,
        "pad_id": 0,
        "preprocess": [
            {"step": "resize", "height": SIDE, "width": SIDE, "interpolation": "bicubic"},
            {"step": "rescale", "factor": 1 / 255},
            {"step": "normalize", "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]},
        ],
        "scoring": {"rule": "softmax_pair", "scale": 10.0},
        "templates": {"positive": ["{}"], "negative": ["no {}"]},
        "labels": ["pneumonia", "edema"],
        "files": {
            name: {
                "sha256": hashlib.sha256((path / name).read_bytes()).hexdigest(),
                "size": (path / name).stat().st_size,
            }
            for name in names
        },
        **changes,
    }
    (path / "model.json").write_text(json.dumps(card))
    return path


def image_encoder(rng: np.random.Generator) -> bytes:
    """A random projection of the picture pooled to 4 × 4."""
    nodes = [
        node("AveragePool", ["pixel_values"], ["pooled"], kernel_shape=[4, 4], strides=[4, 4]),
        node("Flatten", ["pooled"], ["flat"]),
        node("MatMul", ["flat", "projection"], ["projected"]),
        node("LpNormalization", ["projected"], ["image_embeds"], axis=1, p=2),
    ]
    return model(
        nodes,
        {"projection": rng.normal(size=(3 * (SIDE // 4) ** 2, WIDTH)).astype(np.float32)},
        value("pixel_values", FLOAT, ["N", 3, SIDE, SIDE]),
        value("image_embeds", FLOAT, ["N", WIDTH]),
    )


def text_encoder(rng: np.random.Generator) -> bytes:
    """The sum of the tokens' random vectors, each weighted by its place."""
    nodes = [
        node("Gather", ["vectors", "input_ids"], ["tokens"]),
        node("Mul", ["tokens", "places"], ["placed"]),
        node("ReduceSum", ["placed", "axes"], ["total"], keepdims=0),
        node("LpNormalization", ["total"], ["text_embeds"], axis=1, p=2),
    ]
    vectors = rng.normal(size=(257, WIDTH)).astype(np.float32)
    vectors[0] = 0  # padding
    places = rng.normal(1, 0.5, (1, CONTEXT, 1)).astype(np.float32)
    return model(
        nodes,
        {"vectors": vectors, "places": places, "axes": np.array([1], np.int64)},
        value("input_ids", INT64, ["N", CONTEXT]),
        value("text_embeds", FLOAT, ["N", WIDTH]),
    )


def byte_tokenizer() -> tokenizers.Tokenizer:
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {"[PAD]": 0, **{letter: index + 1 for index, letter in enumerate(alphabet)}}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    return tokenizer
