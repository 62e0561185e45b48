"""Broken pairs of ONNX encoders; the same number always gives the same broken pair."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import onnx
from onnx import TensorProto

from tests.support.mutate import broken
from tests.support.ownencoders import CONTEXT, Image, Pair, Text

NUMBERS = (-(2**63), -(2**31), -2, -1, 0, 1, 2, 3, 7, 255, 2**16, 2**31 - 1, 2**40, 2**63 - 1)
OPERATORS = (
    "Loop", "If", "ConstantOfShape", "Range", "Tile", "Expand", "Reshape", "Softmax", "BatchNormalization", "Einsum",
    "RandomNormalLike", "DynamicQuantizeLinear", "Identity", "NonZero", "Resize", "Conv", "LSTM", "Gather", "TopK",
)  # fmt: skip
LOCATIONS = ("../secret", "/etc/passwd", "image.onnx", "image_weights.bin", "w.bin", "", "a/../../b", "C:\\x", "\0")


@cache
def seeds() -> tuple[tuple[bytes, bytes], ...]:
    """Image and text encoder of each form, serialised."""
    images = (
        Image(),
        Image(normalised=False, batch=1, dtype=TensorProto.FLOAT16),
        Image(channels=1, channels_last=True),
        Image("pixel_values", "image_embeds", normalised=False),
    )
    texts = (
        Text(),
        Text(mask=TensorProto.INT64, kinds=TensorProto.INT64, normalised=False),
        Text(dtype=TensorProto.INT32, batch=1, length=CONTEXT, mask=TensorProto.BOOL),
        Text("input_ids", "text_embeds", mask=TensorProto.FLOAT),
    )
    pairs = zip(images, texts, strict=True)
    return tuple((image.model().SerializeToString(), text.model().SerializeToString()) for image, text in pairs)


def write_mutant(pair: Pair, number: int) -> None:
    """Write broken pair number `number` over the encoders of a pair."""
    random = Random(number)
    files = list(random.choice(seeds()))
    which = random.randrange(2)
    bytewise = random.random() < 0.3
    files[which] = broken(files[which], random) if bytewise else _changed(files[which], random)
    for path, content in zip((pair.image_file, pair.text_file), files, strict=True):
        Path(path).write_bytes(content)


def _changed(content: bytes, random: Random) -> bytes:
    model = onnx.ModelProto.FromString(content)
    for _ in range(random.choice((1, 1, 2, 4))):
        if model.graph.node and model.graph.initializer:
            random.choice(CHANGES)(model.graph, random)
    if random.random() < 0.05:
        model.opset_import[0].version = random.choice((1, 7, 10, 11, 13, 21, 25, 99, 2**31))
    if random.random() < 0.05:
        model.ir_version = random.choice((0, 1, 3, 99, 2**40))
    return bytes(model.SerializeToString())


def _attribute(graph: Any, random: Random) -> None:
    found = [each for node in graph.node for each in node.attribute]
    if found:
        attribute = random.choice(found)
        attribute.i = random.choice(NUMBERS)
        attribute.ints[:] = [random.choice(NUMBERS) for _ in attribute.ints]


def _dims(graph: Any, random: Random) -> None:
    tensor = random.choice(graph.initializer)
    tensor.dims[:] = [random.choice(NUMBERS) for _ in range(random.choice((0, 1, 2, 5, len(tensor.dims))))]


def _type(graph: Any, random: Random) -> None:
    random.choice(graph.initializer).data_type = random.randrange(0, 30)


def _numbers(graph: Any, random: Random) -> None:
    tensor = random.choice(graph.initializer)
    if tensor.raw_data:
        tensor.raw_data = broken(tensor.raw_data, random)


def _external(graph: Any, random: Random) -> None:
    tensor = random.choice(graph.initializer)
    tensor.data_location = random.choice((TensorProto.DEFAULT, TensorProto.EXTERNAL))
    for key in random.sample(("location", "offset", "length", "checksum", "x"), random.randrange(1, 4)):
        value = random.choice(LOCATIONS) if key == "location" else str(random.choice(NUMBERS))
        tensor.external_data.add(key=key, value=value)


def _operator(graph: Any, random: Random) -> None:
    random.choice(graph.node).op_type = random.choice(OPERATORS)


def _domain(graph: Any, random: Random) -> None:
    random.choice(graph.node).domain = random.choice(("com.microsoft", "mine", "ai.onnx", "ai.onnx.ml"))


def _rewire(graph: Any, random: Random) -> None:
    node, other = random.choice(graph.node), random.choice(graph.node)
    names = [*other.input, *other.output, "", "pixel_values", "image_embeds", "nothing"]
    side = random.choice((node.input, node.output))
    if side:
        side[random.randrange(len(side))] = random.choice(names)


def _drop(graph: Any, random: Random) -> None:
    repeated = random.choice((graph.node, graph.initializer, graph.input, graph.output))
    if repeated:
        del repeated[random.randrange(len(repeated))]


def _repeat(graph: Any, random: Random) -> None:
    repeated = random.choice((graph.node, graph.initializer, graph.input, graph.output))
    if repeated:
        repeated.append(random.choice(repeated))


def _shape(graph: Any, random: Random) -> None:
    value = random.choice((*graph.input, *graph.output, onnx.ValueInfoProto()))
    tensor = value.type.tensor_type
    if random.random() < 0.3:
        tensor.elem_type = random.randrange(0, 30)
    elif random.random() < 0.3:
        tensor.ClearField("shape")
    else:
        for dim in tensor.shape.dim:
            dim.dim_value = random.choice((*NUMBERS, 16, 16))


def _subgraph(graph: Any, random: Random) -> None:
    node = random.choice(graph.node)
    attribute = node.attribute.add(name="body", type=onnx.AttributeProto.GRAPH)
    attribute.g.CopyFrom(onnx.GraphProto(name="inner", node=[node] if random.random() < 0.5 else []))


CHANGES: tuple[Callable[[Any, Random], None], ...] = (
    _attribute, _attribute, _dims, _type, _numbers, _external, _operator, _operator, _domain, _rewire, _rewire, _drop,
    _repeat, _shape, _shape, _subgraph,
)  # fmt: skip
