"""What an ONNX graph says of the shapes of its inputs and outputs, read without a library that would open it.

Field numbers are those of onnx.proto3; they never change.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

from cxrzero.errors import BundleError
from cxrzero.model.protobuf import BYTES, VARINT, Field, fields, read_varint, text

# ModelProto; GraphProto; ValueInfoProto; TypeProto; TypeProto.Tensor; TensorShapeProto; Dimension
GRAPH, INPUT, OUTPUT = 7, 11, 12
NAME, TYPE, TENSOR, SHAPE, DIM, DIM_VALUE = 1, 2, 1, 2, 1, 1

Shape = tuple[int | None, ...]


def declared_shapes(graph: Path) -> dict[str, Shape]:
    """Input or output → its shape, None for an axis that is free; of those that state one.

    Raises:
        BundleError: it is no ONNX file.
    """
    try:
        with (
            graph.open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
            memoryview(content) as data,
        ):
            return dict(_shapes(data))
    except (ValueError, IndexError) as error:
        raise BundleError(f"{graph} cannot be loaded: it is not an ONNX model") from error


def _shapes(data: memoryview) -> Iterator[tuple[str, Shape]]:
    for graph in _inside(data, Field(0, BYTES, 0, 0, len(data)), GRAPH):
        for value in _inside(data, graph, INPUT, OUTPUT):
            name = next((text(data, each) for each in _inside(data, value, NAME)), "")
            for kind in _inside(data, value, TYPE):
                for tensor in _inside(data, kind, TENSOR):
                    for shape in _inside(data, tensor, SHAPE):
                        yield name, tuple(_size(data, axis) for axis in _inside(data, shape, DIM))


def _inside(data: memoryview, message: Field, *numbers: int) -> Iterator[Field]:
    for each in fields(data, message.body, message.end):
        if each.number in numbers and each.kind == BYTES:
            yield each


def _size(data: memoryview, axis: Field) -> int | None:
    values = (each for each in fields(data, axis.body, axis.end) if each.number == DIM_VALUE and each.kind == VARINT)
    return next((read_varint(data, each.body)[0] for each in values), None)
