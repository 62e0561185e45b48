"""The value steps of a bundle as a small ONNX graph, which ONNX Runtime runs on the GPU before the encoder.

    fitted (N, 1, h, w) uint8  →  pixel_values (N, 3, H, W) float32, bit for bit what `ValueSteps` gives

It is written here, in protobuf's wire format: the default installation has no `onnx`. Field numbers are those of
onnx.proto3; they never change.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from cxrzero.model.protobuf import message
from cxrzero.model.values import ValueSteps, cubic_taps

FITTED, PIXEL_VALUES = "fitted", "pixel_values"

IR_VERSION, OPSET = 8, 17
# TensorProto.DataType
DATA_TYPES = {"float32": 1, "uint8": 2, "int32": 6, "int64": 7, "float64": 11}
INT_ATTRIBUTE = 2  # AttributeProto.AttributeType


def prelude(steps: ValueSteps, shape: tuple[int, int, int]) -> bytes:
    """The graph for calls of `shape`, (N, h, w): every size in it is fixed."""
    graph = _Graph()
    values = _levels(graph, steps, FITTED)
    height, width = shape[1:]
    if steps.side is not None:
        values = _resize(graph, values, (height, width), steps.side)
        height = width = steps.side
    count = shape[0]
    graph.add("Expand", [values, graph.constant(np.array([count, 3, height, width]))], PIXEL_VALUES)
    return graph.model((FITTED, "uint8", (count, 1, *shape[1:])), (PIXEL_VALUES, "float32", (count, 3, height, width)))


def _levels(graph: _Graph, steps: ValueSteps, fitted: str) -> str:
    """(N, 1, h, w) uint8 → (N, C, h, w) float32; the tables of all channels stand one behind the other."""
    channels = len(steps.levels)
    index = graph.add("Cast", [fitted], to=DATA_TYPES["int32"])
    if channels > 1:
        starts = np.arange(0, 256 * channels, 256, dtype=np.int32).reshape(1, channels, 1, 1)
        index = graph.add("Add", [index, graph.constant(starts)])
    return graph.add("Gather", [graph.constant(steps.levels.reshape(-1)), index], axis=0)


def _resize(graph: _Graph, values: str, size: tuple[int, int], side: int) -> str:
    """`resize_bicubic`: rows, then columns; products and sums in float64, from the first tap to the last."""
    for axis, source in ((2, size[0]), (3, size[1])):
        taps, weights = cubic_taps(source, side)
        products = []
        for tap, weight in zip(taps, weights, strict=True):
            taken = graph.add("Gather", [values, graph.constant(tap.astype(np.int64))], axis=axis)
            if axis == 2:
                taken = graph.add("Cast", [taken], to=DATA_TYPES["float64"])
            factor = graph.constant(weight.reshape(side, 1) if axis == 2 else weight)
            products.append(graph.add("Mul", [taken, factor]))
        values = products[0]
        for product in products[1:]:
            values = graph.add("Add", [values, product])
    return graph.add("Cast", [values], to=DATA_TYPES["float32"])


class _Graph:
    """Nodes and constants, each named by its number."""

    def __init__(self) -> None:
        self._nodes: list[bytes] = []
        self._constants: list[bytes] = []

    def add(self, operator: str, inputs: Sequence[str], output: str = "", **numbers: int) -> str:
        """Add a node with attributes that are whole numbers; returns the name of its output."""
        output = output or f"v{len(self._nodes)}"
        attributes = [
            (5, message((1, name.encode()), (3, number), (20, INT_ATTRIBUTE))) for name, number in numbers.items()
        ]
        names = [(1, name.encode()) for name in inputs]
        self._nodes.append(message(*names, (2, output.encode()), (4, operator.encode()), *attributes))
        return output

    def constant(self, values: npt.NDArray[Any]) -> str:
        name = f"c{len(self._constants)}"
        little = values.astype(values.dtype.newbyteorder("<"))
        content = ((2, DATA_TYPES[values.dtype.name]), (8, name.encode()), (9, little.tobytes()))
        self._constants.append(message(*((1, size) for size in values.shape), *content))
        return name

    def model(self, given: tuple[str, str, Sequence[int]], made: tuple[str, str, Sequence[int]]) -> bytes:
        graph = message(
            *((1, node) for node in self._nodes),
            (2, b"prelude"),
            *((5, constant) for constant in self._constants),
            (11, _value(*given)),
            (12, _value(*made)),
        )
        return message((1, IR_VERSION), (7, graph), (8, message((1, b""), (2, OPSET))))


def _value(name: str, data_type: str, shape: Sequence[int]) -> bytes:
    """A ValueInfoProto."""
    dims = message(*((1, message((1, size))) for size in shape))
    return message((1, name.encode()), (2, message((1, message((1, DATA_TYPES[data_type]), (2, dims))))))
