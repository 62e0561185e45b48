"""An ONNX file of anybody's: looked at as bytes before a library makes objects of it, then read, and refused if it is
more than a plain graph of standard operators.

What is refused is what would run code or without end, what could depend on other pictures, or what the backends of a
bundle do not know: operators of other domains, functions, and graphs within graphs (If, Loop, Scan).
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError
from onnx import AttributeProto, TensorProto, helper

from cxrzero.convert.graphs import part_of, undocument
from cxrzero.convert.own.external import check_external, is_external
from cxrzero.errors import ImportModelError, NoInputError
from cxrzero.model.protobuf import BYTES, fields

STANDARD = ("", "ai.onnx")
# Older ones say in other words what the nodes that are added say.
LEAST_OPSET = 11
MAX_FILE = 2**31 - 1  # bytes, of a message of protobuf
# The largest graphs of towers have some hundred thousand fields. Each becomes an object, of some hundred bytes.
MAX_FIELDS = 1_000_000
# Bytes of numbers that are written one by one; reading makes up to eight times as much of them.
MAX_LISTED = 2**26
LEAST_IR = 8

# Message → field → message: what is counted. Of tensors and attributes also the fields that list numbers.
WAYS = {
    "Model": {7: "Graph", 8: "Leaf", 14: "Leaf", 20: "Leaf", 25: "Leaf"},
    "Graph": {1: "Node", 5: "Tensor", 11: "Value", 12: "Value", 13: "Value", 14: "Leaf", 15: "Leaf"},
    "Node": {5: "Attribute"},
    "Attribute": {5: "Tensor", 10: "Tensor", 6: "Graph", 11: "Graph"},
    "Value": {2: "Type"},
    "Type": {1: "TensorType"},
    "TensorType": {2: "Shape"},
    "Shape": {1: "Leaf"},
    "Tensor": {},
    "Leaf": {},
}
LISTED = {"Tensor": {5, 6, 7, 11}, "Attribute": {8, 9}}
MAX_DEPTH = 100
KNOWN_TYPES = set(helper.get_all_tensor_dtypes()) - {TensorProto.STRING}
# Where a tensor may have its numbers itself.
STORED = ("raw_data", "float_data", "int32_data", "string_data", "int64_data", "double_data", "uint64_data")


@dataclass(frozen=True, slots=True)
class Graph:
    """What is left of a file: the part that one output needs, without documentation.

    Attributes:
        model: its numbers may still lie in other files, see `cxrzero.convert.own.external`.
        files: those other files.
    """

    path: Path
    model: onnx.ModelProto
    opset: int
    files: tuple[Path, ...]


def read_graph(path: Path) -> onnx.ModelProto:
    """The whole of a file.

    Raises:
        NoInputError: there is none.
        ImportModelError: it is not an ONNX model, or one that is no plain graph.
    """
    try:
        size = path.stat().st_size
        if size == 0:
            raise ImportModelError(f"{path} is empty; fetch it again")
        if size > MAX_FILE:
            raise ImportModelError(f"{path} has {size:,} bytes, an ONNX file at most {MAX_FILE:,}: it is none")
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            _count(data, path)
            model = onnx.ModelProto.FromString(data[:])
    except FileNotFoundError:
        raise NoInputError(f"{path}: no such file") from None
    except OSError as error:
        raise ImportModelError(f"{path} cannot be read: {error.strerror}") from error
    except DecodeError as error:
        raise _none(path) from error
    _check(model, path)
    return model


def part(model: onnx.ModelProto, output: str, path: Path) -> Graph:
    """What an output needs, if it is made of standard operators, with inputs that are inputs only.

    Raises:
        ImportModelError: an operator that is refused, or numbers that are not where they are said to be.
    """
    opset = next(each.version for each in model.opset_import if each.domain in STANDARD)
    kept = part_of(model, output)
    for node in kept.graph.node:
        _check_node(node, path)
    files = {check_external(each, path) for each in kept.graph.initializer if is_external(each)}
    used = {name for node in kept.graph.node for name in node.input} - {each.name for each in kept.graph.initializer}
    inputs = [each for each in kept.graph.input if each.name in used]
    del kept.graph.output[1:]  # where it is listed twice
    del kept.graph.input[:], kept.graph.value_info[:], kept.graph.quantization_annotation[:], kept.opset_import[:]
    kept.graph.input.extend(inputs)
    kept.opset_import.add(domain="", version=opset)
    kept.ir_version = max(kept.ir_version, LEAST_IR)
    kept.producer_name = kept.producer_version = kept.domain = ""
    undocument(kept)
    return Graph(path, kept, opset, tuple(sorted(files)))


def _count(data: mmap.mmap, path: Path) -> None:
    """Refuse what would become more memory than a file of that size should."""
    waiting, counted, listed = [("Model", 0, len(data), 0)], 0, 0
    try:
        with memoryview(data) as view:
            while waiting:
                kind, start, end, depth = waiting.pop()
                if depth > MAX_DEPTH:
                    raise ValueError("messages in messages without end")
                ways, lists = WAYS[kind], LISTED.get(kind, set())
                for field in fields(view, start, end):
                    counted += 1
                    if field.kind == BYTES and field.number in ways:
                        waiting.append((ways[field.number], field.body, field.end, depth + 1))
                    elif field.number in lists:
                        listed += field.end - field.body
                    if counted > MAX_FIELDS or listed > MAX_LISTED:
                        raise ImportModelError(
                            f"{path} has more parts than any encoder; save its numbers as raw data, or fetch it again"
                        )
    except (ValueError, IndexError) as error:
        raise _none(path) from error


def _check(model: onnx.ModelProto, path: Path) -> None:
    opsets = [each.version for each in model.opset_import if each.domain in STANDARD]
    # A name that is no Unicode is handed out as bytes.
    if len(set(opsets)) != 1 or not model.graph.node or not all(isinstance(each, str) for each in _names(model.graph)):
        raise _none(path)
    if opsets[0] < LEAST_OPSET:
        raise ImportModelError(
            f"{path} has opset {opsets[0]}, at least {LEAST_OPSET} is needed; export it again, or convert it with "
            "onnx.version_converter"
        )
    if model.functions or model.training_info or model.graph.sparse_initializer:
        what = "functions" if model.functions else "training" if model.training_info else "sparse numbers"
        raise ImportModelError(f"{path} holds {what}; export it for inference, with functions inlined (onnx.inliner)")
    names = [each.name for each in model.graph.initializer]
    if len(set(names)) < len(names):
        raise ImportModelError(f"{path} has two weights of one name; export it again")
    for tensor in model.graph.initializer:
        _check_tensor(tensor, path)


def _names(graph: onnx.GraphProto) -> Iterator[str]:
    for node in graph.node:
        yield from (node.op_type, node.domain, *node.input, *node.output, *(each.name for each in node.attribute))
    yield from (each.name for each in (*graph.initializer, *graph.input, *graph.output))
    for tensor in graph.initializer:
        yield from (text for each in tensor.external_data for text in (each.key, each.value))


def _check_node(node: onnx.NodeProto, path: Path) -> None:
    if node.domain not in STANDARD:
        raise ImportModelError(
            f"{path} has the operator {node.domain[:40]}.{node.op_type[:40]}, which is none of the ONNX standard; "
            "export it without custom operators (and without ONNX Runtime's own fusions)"
        )
    for attribute in node.attribute:
        if attribute.type in (AttributeProto.GRAPH, AttributeProto.GRAPHS) or attribute.g.node or attribute.graphs:
            raise ImportModelError(
                f"{path} has the operator {node.op_type[:40]}, a graph within the graph: it may run without end, or "
                "otherwise for other pictures, and not every backend knows it. Export the model without (fixed shapes "
                "but for the batch; a tool such as onnxsim takes out an If that is always decided alike)"
            )
        if attribute.ref_attr_name or attribute.sparse_tensor.values.dims or attribute.sparse_tensors:
            raise ImportModelError(f"{path}: the operator {node.op_type[:40]} is not plain; export the model again")
        for tensor in (*[attribute.t] * attribute.HasField("t"), *attribute.tensors):
            _check_constant(tensor, path)


def _check_constant(tensor: TensorProto, path: Path) -> None:
    if is_external(tensor):
        raise ImportModelError(
            f"{path}: only initializers may have their numbers in another file; save the model again"
        )
    _check_tensor(tensor, path)


def _check_tensor(tensor: TensorProto, path: Path) -> None:
    """Before anything is allocated for it: numbers of a known type, and no more than there are bytes for."""
    if tensor.data_type not in KNOWN_TYPES:
        raise ImportModelError(f"{path}: {tensor.name[:80]!r} has no type of numbers; export the model again")
    if is_external(tensor):
        return
    room = 2 * max(len(getattr(tensor, field)) for field in STORED)  # two numbers of 4 bits share a byte
    if any(size < 0 for size in tensor.dims) or math.prod(tensor.dims) > room:
        raise ImportModelError(
            f"{path}: {tensor.name[:80]!r} has fewer numbers than its shape says; fetch the file again"
        )


def _none(path: Path) -> ImportModelError:
    return ImportModelError(f"{path} is not an ONNX model, or a damaged one; fetch or export it again")
