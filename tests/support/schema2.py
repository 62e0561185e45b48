"""The tiny bundle in schema 2: its image encoder's weights beside the graph, and patches; needs the package onnx.

And in schema 3, with the text encoder's weights beside it, too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.support.bundle import SIDE, WIDTH
from tests.support.variants import rehash


def as_schema_2(folder: Path, patches: bool = True) -> Path:
    """Move the large numbers of a bundle's image encoder into image_weights.bin, and give it a patch encoder."""
    tensor = _move(folder / "image_encoder.onnx", folder / "image_weights.bin")
    if patches:
        onnx.save(_patch_model(tensor), folder / "patch_encoder.onnx")
    return rehash(folder, schema_version=2, patch_embeds={"height": 1, "width": 1} if patches else None)


def with_text_weights(folder: Path) -> Path:
    """Move the vectors of the tokens of a bundle of schema 2 into text_weights.bin."""
    _move(folder / "text_encoder.onnx", folder / "text_weights.bin")
    return rehash(folder, schema_version=3)


def _move(graph: Path, weights: Path) -> onnx.TensorProto:
    model = onnx.load(graph)
    [tensor] = [each for each in model.graph.initializer if len(each.raw_data) >= 1024]
    # In the middle of the file: a reader that takes no notice of the offset is found out.
    weights.write_bytes(b"\xff" * 64 + tensor.raw_data + b"\xff" * 64)
    tensor.CopyFrom(stored_tensor(tensor, location=weights.name, offset=64, length=len(tensor.raw_data)))
    onnx.save(model, graph)
    return tensor


def stored_tensor(tensor: onnx.TensorProto, **place: Any) -> onnx.TensorProto:
    """The tensor with its numbers elsewhere."""
    moved = TensorProto(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
    moved.data_location = TensorProto.EXTERNAL
    moved.external_data.extend(onnx.StringStringEntryProto(key=key, value=str(value)) for key, value in place.items())
    return moved


def _patch_model(projection: onnx.TensorProto) -> onnx.ModelProto:
    """One patch, the whole picture: (N, 1, 1, WIDTH)."""
    nodes = [
        helper.make_node("AveragePool", ["pixel_values"], ["pooled"], kernel_shape=[4, 4], strides=[4, 4]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("MatMul", ["flat", "projection"], ["projected"]),
        helper.make_node("LpNormalization", ["projected"], ["unit"], axis=1, p=2),
        helper.make_node("Reshape", ["unit", "shape"], ["patch_embeds"]),
    ]
    shape = numpy_helper.from_array(np.array([-1, 1, 1, WIDTH], np.int64), "shape")
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("pixel_values", TensorProto.FLOAT, ["N", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("patch_embeds", TensorProto.FLOAT, ["N", 1, 1, WIDTH])],
        initializer=[projection, shape],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
