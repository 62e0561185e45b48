"""An ONNX graph on its way into a bundle: one output's part of it, its weights in a file beside it, no documentation.

Needs onnx, and no torch.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy.typing as npt
import onnx
from google.protobuf.message import Message
from onnx import TensorProto, helper, numpy_helper
from onnx.external_data_helper import uses_external_data

from cxrzero.model.weights import DTYPES

# Bytes from which numbers go into the file of weights. Smaller ones stay in the graph: axes and shapes are read there.
STORED_FROM = 1024
# A protobuf message ends at 2^31 − 1 bytes: of numbers, beside a graph of some megabytes. The weights of a picture's
# tower are not part of one; of a text tower they are where they fit.
MAX_INSIDE = 2**31 - 2**24
ALIGNMENT = 64  # bytes, of a tensor in the file of weights; a processor's cache line

Values = Callable[[TensorProto], npt.NDArray[Any]]


def part_of(model: onnx.ModelProto, output: str) -> onnx.ModelProto:
    """The graph of one output: what it needs, and nothing else."""
    part = onnx.ModelProto()
    part.CopyFrom(model)
    graph = part.graph
    wanted, nodes = {output}, []
    for node in reversed(graph.node):
        if wanted & set(node.output):
            nodes.append(node)
            wanted |= set(node.input)
    for kept, items in (
        (nodes[::-1], graph.node),
        ([each for each in graph.initializer if each.name in wanted], graph.initializer),
        ([each for each in graph.output if each.name == output], graph.output),
        ([each for each in graph.value_info if each.name in wanted], graph.value_info),
    ):
        copies = [type(each).FromString(each.SerializeToString()) for each in kept]
        del items[:]
        items.extend(copies)
    return part


def size_of(model: onnx.ModelProto) -> int:
    """Bytes of its stored numbers, wherever they are."""
    kinds = ((tensor, helper.tensor_dtype_to_np_dtype(tensor.data_type)) for tensor in model.graph.initializer)
    return sum(math.prod(tensor.dims) * kind.itemsize for tensor, kind in kinds)


def take_in_constants(graph: onnx.GraphProto, folder: Path) -> None:
    """Put numbers of operators' attributes that an exporter left in files into the graph: only initializers may lie
    elsewhere in a bundle."""
    for attribute in (each for node in graph.node for each in node.attribute):
        for inner in (attribute.g, *attribute.graphs):
            take_in_constants(inner, folder)
        for tensor in (attribute.t, *attribute.tensors):
            if uses_external_data(tensor):
                tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor, str(folder)), tensor.name))


def move_weights(graph: onnx.GraphProto, path: Path, values_of: Values = numpy_helper.to_array) -> None:
    """Write large tensors to a file, one after the other, and leave in the graph where they are there.

    Args:
        values_of: gives the numbers of a tensor, wherever they are now.
    """
    with path.open("wb") as file:
        for tensor in graph.initializer:
            values = values_of(tensor)
            if values.nbytes < STORED_FROM or tensor.data_type not in DTYPES:
                if uses_external_data(tensor):
                    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
                continue
            file.write(bytes(-file.tell() % ALIGNMENT))
            place = {"location": path.name, "offset": file.tell(), "length": values.nbytes}
            values.astype(values.dtype.newbyteorder("<"), copy=False).tofile(file)
            moved = TensorProto(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
            moved.data_location = TensorProto.EXTERNAL
            moved.external_data.extend(onnx.StringStringEntryProto(key=k, value=str(v)) for k, v in place.items())
            tensor.CopyFrom(moved)


def undocument(message: Message) -> None:
    """Take out what the exporter says of where things came from: source paths of this machine, names of modules."""
    for field in {"doc_string", "metadata_props"}.intersection(message.DESCRIPTOR.fields_by_name):
        message.ClearField(field)
    for _, value in message.ListFields():
        if isinstance(value, Message):
            undocument(value)
        elif hasattr(value, "add"):  # a repeated field of messages
            for each in value:
                undocument(each)
