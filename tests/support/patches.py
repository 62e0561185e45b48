"""A bundle that embeds patches: what it sees of a label is how bright each is; no package but the core's needed."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from cxrzero import Screener
from cxrzero.model.score import Classifier
from tests.support.bundle import write_bundle
from tests.support.onnxfile import FLOAT, model, node, value

LABEL = "pneumonia"


def write_patch_bundle(
    path: Path,
    size: tuple[int, int] = (32, 32),
    step: int = 4,
    *,
    pad: int = 0,
    patches: bool = True,
    seed: int = 0,
    **changes: Any,
) -> Path:
    """Write it: the evidence for LABEL rises with the mean grey of a patch.

    Args:
        size: (height, width) of the encoder's input.
        step: pixels of a patch's side.
        pad: pixels that stand before the first row and column, so that patches are centred so much earlier.
        patches: whether it has a patch encoder; it embeds whole pictures by the mean of the patches anyhow.
        changes: keys of model.json.
    """
    steps = [
        {"step": "resize", "height": size[0], "width": size[1], "interpolation": "bilinear"},
        {"step": "rescale", "factor": 1 / 255},
    ]
    stated = {"image_size": list(size), "preprocess": steps} | changes
    write_bundle(path, seed, **stated)
    rises, still = _directions(path)
    nodes = [
        node("AveragePool", ["pixel_values"], ["pooled"], kernel_shape=[step, step], strides=[step, step],
             pads=[pad, pad, 0, 0]),
        node("Conv", ["pooled", "weights", "bias"], ["seen"], kernel_shape=[1, 1]),
        node("Transpose", ["seen"], ["last"], perm=[0, 2, 3, 1]),
    ]  # fmt: skip
    weights = {"weights": np.repeat(rises[:, None, None, None] / 3, 3, axis=1), "bias": still}
    given = value("pixel_values", FLOAT, ["N", 3, *size])
    pooled = [node("ReduceMean", ["last"], ["mean"], axes=[1, 2], keepdims=0), _unit("mean", "image_embeds", 1)]
    grid = [(side + pad - step) // step + 1 for side in size]
    whole = model([*nodes, *pooled], weights, given, value("image_embeds", FLOAT, ["N", len(still)]))
    (path / "image_encoder.onnx").write_bytes(whole)
    (path / "image_weights.bin").write_bytes(b"\0" * 64)
    names = ["image_encoder.onnx", "image_weights.bin", "text_encoder.onnx", "tokenizer.json"]
    if patches:
        last = [*nodes, _unit("last", "patch_embeds", 3)]
        parts = model(last, weights, given, value("patch_embeds", FLOAT, ["N", *grid, len(still)]))
        (path / "patch_encoder.onnx").write_bytes(parts)
        names.append("patch_encoder.onnx")
    card = json.loads((path / "model.json").read_text()) | {"schema_version": 2}
    card["files"] = {name: {"sha256": hashlib.sha256((path / name).read_bytes()).hexdigest()} for name in names}
    (path / "model.json").write_text(json.dumps(card))
    return path


def _unit(given: str, made: str, axis: int) -> bytes:
    return node("LpNormalization", [given], [made], axis=axis, p=2)


def _directions(path: Path) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """(D,) along which LABEL is told from its opposite, and (D,) on which that does not depend."""
    screener = Screener(path, device="cpu", cache=False)
    classifier = screener.member.classifier(screener.prompts([LABEL]))
    assert isinstance(classifier, Classifier)
    rises = (classifier.positive - classifier.negative)[0].astype(np.float64)
    rises /= np.linalg.norm(rises)
    still = np.random.default_rng(0).normal(size=len(rises))
    still -= rises * (still @ rises)
    return rises.astype(np.float32), (still / np.linalg.norm(still)).astype(np.float32)
