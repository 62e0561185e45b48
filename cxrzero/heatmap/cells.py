"""Where in a model's input each of its patches looks, read from the patch encoder's own graph.

A patch of a vision transformer looks at its square: the first at half a step from the edge. A patch of a convolutional
network looks at the middle of what its convolutions reach, and with symmetric padding the first one's is the very
corner of the picture: EfficientNet's 7 × 7 patches of 224 pixels are centred at 0, 32, … 192, not at 16, 48, … 208. So
every convolution and pooling between input and patches is followed back: output pixel j of one is centred on input
pixel stride · j + dilation · (kernel − 1) / 2 − padding. Field numbers are those of onnx.proto3; they never change.
"""

from __future__ import annotations

import mmap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from cxrzero.model.protobuf import BYTES, VARINT, Field, fields, read_varint, text

# ModelProto; GraphProto; NodeProto; AttributeProto
GRAPH, NODE, NODE_INPUT, NODE_OUTPUT, OP_TYPE, ATTRIBUTE = 7, 1, 1, 2, 4, 5
NAME, INTS = 1, 8
WINDOWS = frozenset({"Conv", "AveragePool", "MaxPool", "LpPool"})
# What a size or a class token comes from says nothing of places.
DEAD_ENDS = frozenset({"Shape", "Size", "Constant", "ConstantOfShape"})
# They move pixels in ways that are not followed.
UNKNOWN = frozenset({"Pad", "Resize", "Upsample", "ConvTranspose", "Slice"})


class Axis(NamedTuple):
    """Equal distances along one side of a picture, in pixels, 0 its upper or left edge.

    Attributes:
        first: the middle of the first cell.
        step: from one to the next.
    """

    first: float
    step: float


@dataclass(slots=True)
class _Node:
    kind: str = ""
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    ints: dict[str, list[int]] = field(default_factory=dict)


def patch_axes(
    graph: Path, grid: tuple[int, int], image_size: tuple[int, int], output: str = "patch_embeds"
) -> tuple[Axis, Axis]:
    """Middles of the patches, down and across, in pixels of the encoder's input.

    Args:
        graph: the patch encoder, or another that has patches at its `output`.
        grid: (h, w) patches.
        image_size: (height, width) of the input.
    """
    found = _followed(graph, output)
    sides = zip(found or (None, None), grid, image_size, strict=True)
    return tuple(_checked(axis, count, side) for axis, count, side in sides)  # type: ignore[return-value]


def _checked(axis: Axis | None, count: int, side: int) -> Axis:
    """What was found if the patches then lie in the picture and reach across it; else squares from its edge on."""
    if axis is not None and axis.step > 0:
        last = axis.first + axis.step * (count - 1)
        if -axis.step <= axis.first <= axis.step and side - 2 * axis.step <= last <= side + axis.step:
            return axis
    step = side // count if side >= count else side / count
    return Axis(step / 2, step)


def _followed(graph: Path, output: str) -> tuple[Axis, Axis] | None:
    """The same as the graph has it; None where it has what is not followed, or is not read."""
    try:
        with (
            graph.open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
            memoryview(content) as data,
        ):
            nodes = _nodes(data)
    except (ValueError, IndexError):
        return None
    makers = {name: node for node in nodes for name in node.outputs}
    way = _way(makers, output, "pixel_values")
    if way is None or any(node.kind in UNKNOWN or (node.kind in WINDOWS and "auto_pad" in node.ints) for node in way):
        return None
    windows = [node for node in way if node.kind in WINDOWS]
    vertical, horizontal = (_axis(windows, side) for side in (0, 1))
    return (vertical, horizontal) if vertical and horizontal else None


def _axis(windows: Sequence[_Node], side: int) -> Axis | None:
    """From the patches back to the input."""
    step, first = 1, 0.0
    for node in windows:
        kernel = node.ints.get("kernel_shape", [])
        if len(kernel) != 2:
            return None
        stride, dilation, pads = (node.ints.get(name) or even for name, even in _PLAIN.items())
        step, first = step * stride[side], stride[side] * first + dilation[side] * (kernel[side] - 1) / 2 - pads[side]
    return Axis(first + 0.5, float(step))  # a pixel's middle is half a pixel from its edge


_PLAIN = {"strides": [1, 1], "dilations": [1, 1], "pads": [0, 0, 0, 0]}


def _way(makers: Mapping[str, _Node], start: str, end: str) -> list[_Node] | None:
    """One way from a value back to another, the nodes in that order."""
    waiting: list[tuple[str, tuple[_Node, ...]]] = [(start, ())]
    visited: set[str] = set()
    while waiting:
        name, way = waiting.pop()
        if name == end:
            return list(way)
        node = makers.get(name)
        if node is None or name in visited or node.kind in DEAD_ENDS:
            continue
        visited.add(name)
        waiting += [(each, (*way, node)) for each in reversed(node.inputs)]  # a node's first input is what it acts on
    return None


def _nodes(data: memoryview) -> list[_Node]:
    graphs = [each for each in fields(data, 0, len(data)) if each.number == GRAPH and each.kind == BYTES]
    return [
        _node(data, each)
        for graph in graphs
        for each in fields(data, graph.body, graph.end)
        if each.number == NODE and each.kind == BYTES
    ]


def _node(data: memoryview, message: Field) -> _Node:
    node = _Node()
    for each in fields(data, message.body, message.end):
        if each.number == NODE_INPUT:
            node.inputs.append(text(data, each))
        elif each.number == NODE_OUTPUT:
            node.outputs.append(text(data, each))
        elif each.number == OP_TYPE:
            node.kind = text(data, each)
        elif each.number == ATTRIBUTE:
            name, ints = _attribute(data, each)
            node.ints[name] = ints
    return node


def _attribute(data: memoryview, message: Field) -> tuple[str, list[int]]:
    name, ints = "", []
    for each in fields(data, message.body, message.end):
        if each.number == NAME:
            name = text(data, each)
        elif each.number == INTS and each.kind == VARINT:
            ints.append(read_varint(data, each.body)[0])
        elif each.number == INTS:  # packed
            at = each.body
            while at < each.end:
                value, at = read_varint(data, at)
                ints.append(value)
    return name, ints
