"""Bundles that have their image encoder in another precision too; needs the package onnx."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from cxrzero.files import sha256_of
from cxrzero.model.model_json import IMAGE_ENCODER


def rehash(folder: Path, **changes: Any) -> Path:
    """Write model.json anew for the files of the model that are there."""
    card = json.loads((folder / "model.json").read_text()) | changes
    files = [*folder.glob("*.onnx"), *folder.glob("*_weights.bin")]
    card["files"] |= {file.name: {"sha256": sha256_of(file)} for file in files}
    (folder / "model.json").write_text(json.dumps(card))
    return folder


def with_int8(folder: Path, **deviation: Any) -> Path:
    """Add a statically quantised image encoder to a copy of the tiny bundle."""
    model = onnx.load(folder / IMAGE_ENCODER)
    multiply = next(node for node in model.graph.node if node.op_type == "MatMul")
    scale, zero = numpy_helper.from_array(np.float32(0.05), "scale"), numpy_helper.from_array(np.uint8(128), "zero")
    model.graph.initializer.extend([scale, zero])
    quantise = [
        helper.make_node("QuantizeLinear", [multiply.input[0], "scale", "zero"], ["short"]),
        helper.make_node("DequantizeLinear", ["short", "scale", "zero"], ["rough"]),
    ]
    multiply.input[0] = "rough"
    nodes = list(model.graph.node)
    place = nodes.index(multiply)
    del model.graph.node[:]
    model.graph.node.extend([*nodes[:place], *quantise, *nodes[place:]])
    onnx.checker.check_model(model)
    onnx.save(model, folder / "image_encoder.int8.onnx")
    stated = {"max_abs_d_over_sd": 0.01, "spearman": 0.999, "n": 100, "command": None} | deviation
    return rehash(folder, variants={"int8": {"image_encoder": "image_encoder.int8.onnx", "deviation": stated}})
