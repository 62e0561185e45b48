"""The part of an ONNX file that one output needs, for bundles of schema 1.

Their patches are a second output of the image encoder. ONNX Runtime computes every node of a file, whichever output is
asked for (`only_execute_path_to_fetches` is for training builds), and patches would cost a fourteenth of a ViT's time.
Field numbers are those of onnx.proto3; they never change.
"""

from __future__ import annotations

from typing import NamedTuple

from cxrzero.model.protobuf import BYTES, Field, fields, text, varint

# ModelProto
GRAPH = 7
# GraphProto
NODE, INITIALIZER, INPUT, OUTPUT, VALUE_INFO = 1, 5, 11, 12, 13
# NodeProto
NODE_INPUT, NODE_OUTPUT, ATTRIBUTE = 1, 2, 5
# ValueInfoProto, TensorProto: where each kind of field in a graph has its name
NAME = {INPUT: 1, OUTPUT: 1, VALUE_INFO: 1, INITIALIZER: 8}
# AttributeProto: graphs of If, Loop and Scan, which use names from around them
SUBGRAPHS = frozenset({6, 11})


class _Node(NamedTuple):
    inputs: list[str]
    outputs: list[str]


def part_for(data: memoryview, output: str) -> bytes | None:
    """The file without what only other outputs need.

    Args:
        data: an ONNX file.

    Returns:
        The smaller file; None where the whole one should be run: it has no other output, has graphs within nodes, or is
        no ONNX file, of which its reader says what is wrong.
    """
    try:
        [graph] = [field for field in fields(data, 0, len(data)) if field.number == GRAPH]
        parts = list(fields(data, graph.body, graph.end))
        outputs = _names(data, parts, OUTPUT)
        if output not in outputs or len(outputs) == 1:
            return None
        nodes = {field: _node(data, field) for field in parts if field.number == NODE}
        needed = _needed(list(nodes.values()), output)
        # Up to IR version 3 an initializer is an input as well, and goes with it.
        inputs = _names(data, parts, INPUT) - _names(data, parts, INITIALIZER) | needed
        wanted = {NODE: needed, INITIALIZER: needed, INPUT: inputs, OUTPUT: {output}, VALUE_INFO: needed}
        kept = [data[field.start : field.end] for field in parts if _is_kept(data, field, nodes, wanted)]
    except (ValueError, IndexError):
        return None
    size = sum(map(len, kept))
    return b"".join([data[: graph.start], varint(GRAPH << 3 | BYTES), varint(size), *kept, data[graph.end :]])


def _is_kept(data: memoryview, field: Field, nodes: dict[Field, _Node], wanted: dict[int, set[str]]) -> bool:
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


def _node(data: memoryview, node: Field) -> _Node:
    found = _Node([], [])
    for field in fields(data, node.body, node.end):
        if field.number == NODE_INPUT:
            found.inputs.append(text(data, field))
        elif field.number == NODE_OUTPUT:
            found.outputs.append(text(data, field))
        elif field.number == ATTRIBUTE and any(f.number in SUBGRAPHS for f in fields(data, field.body, field.end)):
            raise ValueError("a graph within a node")
    return found


def _names(data: memoryview, parts: list[Field], number: int) -> set[str]:
    return {_name(data, field) for field in parts if field.number == number}


def _name(data: memoryview, message: Field) -> str:
    number = NAME[message.number]
    return next((text(data, f) for f in fields(data, message.body, message.end) if f.number == number), "")
