"""Writes small ONNX files without the package `onnx`, byte for byte as `onnx.helper` and `onnx.save` would.

A file is one protocol buffer message, `ModelProto`. Numbers below are those of the fields in `onnx.proto`
(https://github.com/onnx/onnx/blob/main/onnx/onnx.proto); fields are written in their order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

FLOAT, INT64 = 1, 7  # TensorProto.DataType
_TYPES = {"float32": FLOAT, "int64": INT64}
_INT, _INTS = 2, 7  # AttributeProto.AttributeType
IR_VERSION, OPSET = 8, 17


def model(
    nodes: Iterable[bytes],
    weights: Mapping[str, Array],
    given: bytes | Sequence[bytes],
    output: bytes | Sequence[bytes],
    name: str = "tiny",
) -> bytes:
    """The content of an ONNX file: a graph of one input and one output, or of several."""
    graph = b"".join(_bytes(1, each) for each in nodes) + _text(2, name)
    graph += b"".join(_bytes(5, _tensor(name, value)) for name, value in weights.items())
    for field, values in ((11, given), (12, output)):
        graph += b"".join(_bytes(field, each) for each in ([values] if isinstance(values, bytes) else values))
    return _number(1, IR_VERSION) + _bytes(7, graph) + _bytes(8, _text(1, "") + _number(2, OPSET))


def node(op: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: int | list[int]) -> bytes:
    """NodeProto."""
    names = b"".join(_text(1, name) for name in inputs) + b"".join(_text(2, name) for name in outputs)
    return names + _text(4, op) + b"".join(_bytes(5, _attribute(*each)) for each in sorted(attributes.items()))


def value(name: str, kind: int, shape: Sequence[int | str]) -> bytes:
    """ValueInfoProto: a tensor of `kind`; a dimension is a number or a name."""
    sizes = b"".join(_bytes(1, _text(2, size) if isinstance(size, str) else _number(1, size)) for size in shape)
    return _text(1, name) + _bytes(2, _bytes(1, _number(1, kind) + _bytes(2, sizes)))


def _attribute(name: str, content: int | list[int]) -> bytes:
    if isinstance(content, int):
        return _text(1, name) + _number(3, content) + _number(20, _INT)
    return _text(1, name) + b"".join(_number(8, each) for each in content) + _number(20, _INTS)


def _tensor(name: str, content: Array) -> bytes:
    """TensorProto with its values as raw little-endian bytes."""
    sizes = b"".join(_number(1, size) for size in content.shape)
    little = content.astype(content.dtype.newbyteorder("<"))
    return sizes + _number(2, _TYPES[content.dtype.name]) + _text(8, name) + _bytes(9, little.tobytes())


def _number(field: int, content: int) -> bytes:
    return _varint(field << 3) + _varint(content)


def _text(field: int, content: str) -> bytes:
    return _bytes(field, content.encode())


def _bytes(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    """Seven bits a byte, the lowest first, the top bit set where another follows."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])
