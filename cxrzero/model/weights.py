"""Which numbers of an ONNX graph lie in a file beside it, found out before a library opens the graph.

ONNX lets any tensor of a graph say that its numbers are in another file. In a bundle these are the initializers of the
image and the patch encoder, which share `image_weights.bin`, those of a large text encoder, in `text_weights.bin`, and
nothing else. The numbers are mapped into memory here, and every backend gets them from here: onnx and OpenVINO refuse a
file that is a link, as it is in the Hugging Face cache and where uv installs. Field numbers are those of onnx.proto3;
they never change.
"""

from __future__ import annotations

import math
import mmap
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cxrzero.errors import BundleError
from cxrzero.model.protobuf import BYTES, VARINT, Field, fields, read_varint, text

IMAGE_WEIGHTS = "image_weights.bin"
TEXT_GRAPH, TEXT_WEIGHTS = "text_encoder.onnx", "text_weights.bin"

# Message → field number → message: every way from a model to a tensor.
WAYS = {
    "Model": {7: "Graph", 20: "TrainingInfo", 25: "Function"},
    "TrainingInfo": {1: "Graph", 2: "Graph"},
    "Function": {7: "Node", 11: "Attribute"},
    "Graph": {1: "Node", 5: "Tensor", 15: "SparseTensor"},
    "Node": {5: "Attribute"},
    "Attribute": {5: "Tensor", 6: "Graph", 10: "Tensor", 11: "Graph", 22: "SparseTensor", 23: "SparseTensor"},
    "SparseTensor": {1: "Tensor", 2: "Tensor"},
}
INITIALIZER = ("Graph", "Tensor")  # the way to a tensor of the graph itself

# TensorProto
DIMS, DATA_TYPE, NAME, EXTERNAL_DATA, DATA_LOCATION = 1, 2, 8, 13, 14
KINDS = {DATA_TYPE: VARINT, NAME: BYTES, EXTERNAL_DATA: BYTES, DATA_LOCATION: VARINT}
DEFAULT, EXTERNAL = 0, 1  # of DataLocation
# TensorProto.DataType → what numpy has for it
DTYPES = {1: "<f4", 2: "u1", 3: "i1", 6: "<i4", 7: "<i8", 10: "<f2", 11: "<f8"}

MAX_DEPTH = 100  # of messages in messages, as protobuf's own readers have it


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """An initializer whose numbers are bytes offset … offset + length of the graph's file of weights."""

    name: str
    data_type: int
    shape: tuple[int, ...]
    offset: int
    length: int

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(DTYPES[self.data_type])


def weights_of(graph: Path) -> Path:
    """The one file that a graph may have numbers in; whether it may at all, the bundle's schema says."""
    return graph.with_name(TEXT_WEIGHTS if graph.name == TEXT_GRAPH else IMAGE_WEIGHTS)


def stored_tensors(graph: Path) -> tuple[StoredTensor, ...]:
    """The tensors of a graph that lie in `weights_of` it; none where it has all its numbers itself.

    Raises:
        BundleError: a tensor names any other file, or a place that this file does not have; or `graph` is no ONNX file.
    """
    with graph.open("rb") as file:
        if graph.stat().st_size == 0:
            raise _no_model(graph)
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content, memoryview(content) as data:
            return _stored(data, graph)


def map_tensors(graph: Path) -> dict[str, npt.NDArray[Any]]:
    """The numbers of `stored_tensors` by name, in the file's own memory: read when used, and never written to it.

    Raises:
        BundleError: as `stored_tensors` does.
    """
    stored = stored_tensors(graph)
    if not stored:
        return {}
    weights = np.memmap(weights_of(graph), np.uint8, mode="c")
    return {
        each.name: weights[each.offset : each.offset + each.length].view(each.dtype).reshape(each.shape)
        for each in stored
    }


def _stored(data: memoryview, graph: Path) -> tuple[StoredTensor, ...]:
    found: dict[str, StoredTensor] = {}
    try:
        for way, tensor in _tensors(data):
            if not _is_elsewhere(data, tensor):
                continue
            stored = _read(data, tensor, graph)
            if way != INITIALIZER or stored.name in found:
                weights = weights_of(graph).name
                raise BundleError(f"{graph}: {stored.name!r} may not be in {weights}, only initializers, once")
            found[stored.name] = stored
    except (ValueError, IndexError) as error:
        raise _no_model(graph) from error
    return tuple(found.values())


def _tensors(data: memoryview) -> Iterator[tuple[tuple[str, ...], Field]]:
    """Yield every tensor in a model, with the messages that hold it, the model itself left out."""
    waiting: list[tuple[tuple[str, ...], int, int]] = [((), 0, len(data))]
    while waiting:
        way, start, end = waiting.pop()
        if len(way) > MAX_DEPTH:
            raise ValueError("messages in messages without end")
        ways = WAYS[way[-1] if way else "Model"]
        for field in fields(data, start, end):
            if (inner := ways.get(field.number)) is None:
                continue
            if field.kind != BYTES:
                raise ValueError(f"{inner} is no message")
            if inner == "Tensor":
                yield (*way, inner), field
            else:
                waiting.append(((*way, inner), field.body, field.end))


def _is_elsewhere(data: memoryview, tensor: Field) -> bool:
    """Whether it says so in any way; readers differ in which they look at."""
    return any(
        field.number == EXTERNAL_DATA or (field.number == DATA_LOCATION and read_varint(data, field.body)[0] != DEFAULT)
        for field in fields(data, tensor.body, tensor.end)
    )


def _read(data: memoryview, tensor: Field, graph: Path) -> StoredTensor:
    """A tensor that says that its numbers are elsewhere, if it says so as it must."""
    name, data_type = "", 0
    shape: list[int] = []
    entries: list[tuple[str, str]] = []
    locations: list[int] = []
    for field in fields(data, tensor.body, tensor.end):
        if field.kind != KINDS.get(field.number, field.kind):
            raise ValueError("a field of another kind than onnx.proto3 says")
        if field.number == NAME:
            name = text(data, field)
        elif field.number == DATA_TYPE:
            data_type = read_varint(data, field.body)[0]
        elif field.number == DIMS:
            shape += _numbers(data, field)
        elif field.number == EXTERNAL_DATA:
            entries.append(_entry(data, field))
        elif field.number == DATA_LOCATION:
            locations.append(read_varint(data, field.body)[0])
    stated, weights = dict(entries), weights_of(graph).name
    if locations != [EXTERNAL] or sorted(key for key, _ in entries) != ["length", "location", "offset"]:
        raise BundleError(f"{graph}: {name!r} must name its file by location, offset and length, each once")
    if stated["location"] != weights:
        raise BundleError(f"{graph}: {name!r} is in {stated['location'][:80]!r}; it may be in {weights} only")
    if not all(re.fullmatch("[0-9]{1,19}", stated[key]) for key in ("offset", "length")):
        raise BundleError(f"{graph}: offset and length of {name!r} must be whole numbers")
    stored = StoredTensor(name, data_type, tuple(shape), int(stated["offset"]), int(stated["length"]))
    _check_place(stored, graph)
    return stored


def _check_place(stored: StoredTensor, graph: Path) -> None:
    weights = weights_of(graph)
    if not stored.name or stored.data_type not in DTYPES:
        raise BundleError(f"{graph}: {stored.name!r} must have a name and a type of numbers that {weights.name} holds")
    size = stored.dtype.itemsize
    if stored.length != math.prod(stored.shape) * size or stored.length == 0 or stored.offset % size:
        raise BundleError(f"{graph}: {stored.name!r} in {weights.name} is not as long as its shape, or not aligned")
    try:
        there = weights.stat().st_size
    except OSError as error:
        raise BundleError(f"{weights}, which {graph.name} needs, cannot be read: {error.strerror}") from error
    if stored.offset + stored.length > there:
        raise BundleError(f"{graph}: {stored.name!r} ends beyond the {there} bytes of {weights.name}")


def _entry(data: memoryview, field: Field) -> tuple[str, str]:
    """Key and value of a StringStringEntryProto."""
    found = {each.number: text(data, each) for each in fields(data, field.body, field.end)}
    return found.get(1, ""), found.get(2, "")


def _numbers(data: memoryview, field: Field) -> list[int]:
    """Read the numbers of a repeated field, which may be packed."""
    if field.kind == VARINT:
        return [read_varint(data, field.body)[0]]
    found, at = [], field.body
    while at < field.end:
        value, at = read_varint(data, at)
        found.append(value)
    return found


def _no_model(graph: Path) -> BundleError:
    return BundleError(f"{graph} cannot be loaded: it is not an ONNX model")
