"""The part of an ONNX file that one output needs.

ONNX Runtime computes every output of a file, whichever is asked for; here a ViT's patches would cost a fourteenth of
its time. The file is cut on the level of protobuf's wire format, since the default installation has no `onnx`. Field
numbers are those of onnx.proto3; they never change.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

# ModelProto
GRAPH = 7
# GraphProto
NODE, INITIALIZER, INPUT, OUTPUT, VALUE_INFO = 1, 5, 11, 12, 13
# NodeProto
NODE_INPUT, NODE_OUTPUT, ATTRIBUTE = 1, 2, 5
# ValueInfoProto, TensorProto: where each kind of field in a graph has its name
NAME = {INPUT: 1, OUTPUT: 1, VALUE_INFO: 1, INITIALIZER: 8}
# TensorProto: external_data and data_location, of numbers in a file beside the model's
ELSEWHERE = frozenset({13, 14})
# AttributeProto: graphs of If, Loop and Scan, which use names from around them
SUBGRAPHS = frozenset({6, 11})

# Wire types
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
FIXED_SIZES = {FIXED64: 8, FIXED32: 4}


class _Field(NamedTuple):
    """A field of a message: where it starts, where its content does, where it ends."""

    number: int
    start: int
    body: int
    end: int


class _Node(NamedTuple):
    inputs: list[str]
    outputs: list[str]


def part_for(data: memoryview, output: str) -> bytes | None:
    """The file without what only other outputs need.

    Args:
        data: an ONNX file.

    Returns:
        The smaller file; None where the whole one should be run: it has no other output, has graphs within nodes or
        numbers in other files, or is no ONNX file, of which its reader says what is wrong.
    """
    try:
        [graph] = [field for field in _fields(data, 0, len(data)) if field.number == GRAPH]
        fields = list(_fields(data, graph.body, graph.end))
        outputs = _names(data, fields, OUTPUT)
        if output not in outputs or len(outputs) == 1 or _has_other_files(data, fields):
            return None
        nodes = {field: _node(data, field) for field in fields if field.number == NODE}
        needed = _needed(list(nodes.values()), output)
        # Up to IR version 3 an initializer is an input as well, and goes with it.
        inputs = _names(data, fields, INPUT) - _names(data, fields, INITIALIZER) | needed
        wanted = {NODE: needed, INITIALIZER: needed, INPUT: inputs, OUTPUT: {output}, VALUE_INFO: needed}
        kept = [data[field.start : field.end] for field in fields if _is_kept(data, field, nodes, wanted)]
    except (ValueError, IndexError):
        return None
    size = sum(map(len, kept))
    return b"".join([data[: graph.start], _varint(GRAPH << 3 | BYTES), _varint(size), *kept, data[graph.end :]])


def _is_kept(data: memoryview, field: _Field, nodes: dict[_Field, _Node], wanted: dict[int, set[str]]) -> bool:
    if field.number not in wanted:
        return True
    names = nodes[field].outputs if field.number == NODE else [_name(data, field)]
    return not wanted[field.number].isdisjoint(names)


def _needed(nodes: list[_Node], output: str) -> set[str]:
    """Names of all values that `output` is computed from, itself among them; never "", of what a node goes without."""
    makers = {name: node for node in nodes for name in node.outputs}
    needed: set[str] = set()
    waiting = [output]
    while waiting:
        name = waiting.pop()
        if name and name not in needed:
            needed.add(name)
            waiting += makers[name].inputs if name in makers else []
    return needed


def _node(data: memoryview, node: _Field) -> _Node:
    found = _Node([], [])
    for field in _fields(data, node.body, node.end):
        if field.number == NODE_INPUT:
            found.inputs.append(_text(data, field))
        elif field.number == NODE_OUTPUT:
            found.outputs.append(_text(data, field))
        elif field.number == ATTRIBUTE and any(f.number in SUBGRAPHS for f in _fields(data, field.body, field.end)):
            raise ValueError("a graph within a node")
    return found


def _has_other_files(data: memoryview, fields: list[_Field]) -> bool:
    tensors = [field for field in fields if field.number == INITIALIZER]
    return any(field.number in ELSEWHERE for tensor in tensors for field in _fields(data, tensor.body, tensor.end))


def _names(data: memoryview, fields: list[_Field], number: int) -> set[str]:
    return {_name(data, field) for field in fields if field.number == number}


def _name(data: memoryview, message: _Field) -> str:
    number = NAME[message.number]
    return next((_text(data, f) for f in _fields(data, message.body, message.end) if f.number == number), "")


def _text(data: memoryview, field: _Field) -> str:
    return bytes(data[field.body : field.end]).decode()


def _fields(data: memoryview, at: int, end: int) -> Iterator[_Field]:
    """The fields of the message in data[at:end].

    Raises:
        ValueError, IndexError: it is not a message.
    """
    while at < end:
        start = at
        tag, at = _read_varint(data, at)
        number, kind = tag >> 3, tag & 7
        body = at
        if kind == VARINT:
            _, at = _read_varint(data, at)
        elif kind == BYTES:
            size, body = _read_varint(data, at)
            at = body + size
        elif kind in FIXED_SIZES:
            at += FIXED_SIZES[kind]
        else:
            raise ValueError(f"wire type {kind}")
        if at > end:
            raise ValueError("a field ends beyond its message")
        yield _Field(number, start, body, at)


def _read_varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("a number of more than 64 bits")


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])
