"""Which input and which output of a user's graph are meant: found where there is one choice, asked for where not."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from cxrzero.backends.base import IMAGE, IMAGE_TOKENS, TEXT, TEXT_TOKENS, Tower
from cxrzero.convert.own.reading import Graph, part
from cxrzero.display.counts import either, together
from cxrzero.errors import ImportModelError

FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE)
IDS = (TensorProto.INT64, TensorProto.INT32)
MASK_TYPES = (*IDS, TensorProto.BOOL, *FLOATS)
# What exporters call the inputs that are derived from the padding id, in lower case.
MASKS = ("attention_mask", "mask", "padding_mask")
KINDS = ("token_type_ids", "segment_ids")

# A trial fills as many with one input.
MAX_FIXED_BATCH = 64

Shape = tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class End:
    """An input or output.

    Attributes:
        dtype: of `TensorProto.DataType`.
        shape: an axis that is free is None; the whole is None where the file does not say it.
    """

    name: str
    dtype: int
    shape: Shape | None

    @property
    def numpy(self) -> np.dtype[Any]:
        return np.dtype(helper.tensor_dtype_to_np_dtype(self.dtype))

    @property
    def fixed_batch(self) -> int | None:
        return self.shape[0] if self.shape else None

    def __str__(self) -> str:
        sizes = "?" if self.shape is None else ", ".join("?" if size is None else str(size) for size in self.shape)
        return f"{self.name[:60]!r} ({sizes}) {TensorProto.DataType.Name(self.dtype).lower()}"


@dataclass(frozen=True, slots=True)
class ImageGraph:
    """An image encoder.

    Attributes:
        size: (height, width) that it takes; a side that is free is None.
        channels: 3, or 1 for a grey picture.
        channels_last: whether pictures are (N, H, W, C).
    """

    graph: Graph
    input: End
    output: End
    size: tuple[int | None, int | None]
    channels: int
    channels_last: bool


@dataclass(frozen=True, slots=True)
class TextGraph:
    """A text encoder.

    Attributes:
        mask: 1 where a token is, 0 where padding; None where the graph takes none.
        kinds: all zeros, BERT's kinds of sentences; None where the graph takes none.
        length: tokens that it takes; None where that is free.
    """

    graph: Graph
    ids: End
    mask: End | None
    kinds: End | None
    output: End
    length: int | None


def image_graph(model: onnx.ModelProto, path: Path, output: str | None, tower: Tower = IMAGE) -> ImageGraph:
    """Find the pictures and their embeddings.

    Raises:
        ImportModelError: the graph is none of an image encoder, or leaves a choice.
    """
    graph = part(model, output_of(model, path, output, tower.output, "--image-output"), path)
    inputs = ends_of(graph.model.graph.input)
    if len(inputs) != 1:
        raise ImportModelError(f"{path} must have one input, the pictures; it has {_listed(inputs)}")
    [given] = inputs
    if given.dtype in IDS and len(given.shape or (1, 1)) == 2:
        raise ImportModelError(f"{path} takes token ids; give --onnx the image encoder first, then the text encoder")
    if given.dtype not in FLOATS:
        raise ImportModelError(f"{path} takes {given}; pictures are float32, float16 or float64: cast inside the graph")
    _check_batch(given, path)
    sides = given.shape or (None,) * 4
    if len(sides) != 4:
        raise ImportModelError(f"{path} takes {given}; pictures have four axes, (N, 3, H, W)")
    channels_last = sides[3] in (1, 3) and sides[1] not in (1, 3)
    channels, size = (sides[3], sides[1:3]) if channels_last else (sides[1], sides[2:4])
    if channels not in (1, 3, None):
        raise ImportModelError(f"{path} takes {given}; pictures have 3 channels, or 1")
    return ImageGraph(
        graph, given, _given(graph, tower), (size[0], size[1]), 3 if channels is None else channels, channels_last
    )


def text_graph(model: onnx.ModelProto, path: Path, output: str | None, tower: Tower = TEXT) -> TextGraph:
    """Find the token ids, what is derived from them, and the embeddings.

    Raises:
        ImportModelError: the graph is none of a text encoder, needs an input that nobody gives, or leaves a choice.
    """
    graph = part(model, output_of(model, path, output, tower.output, "--text-output"), path)
    inputs = ends_of(graph.model.graph.input)
    mask, kinds = _called(inputs, MASKS), _called(inputs, KINDS)
    rest = [each for each in inputs if each not in (mask, kinds)]
    ids = _called(rest, ("input_ids",)) or (rest[0] if len(rest) == 1 else None)
    if ids is None or len(rest) != 1:
        raise ImportModelError(
            f"{path} must have the input input_ids, and beside it at most {either([*MASKS[:1], *KINDS[:1]])}; it has "
            f"{_listed(inputs)}"
        )
    if ids.dtype not in IDS or len(ids.shape or (1, 1)) != 2:
        raise ImportModelError(f"{path} takes {ids}; token ids are int64 or int32 with two axes, (N, L)")
    for each in (ids, mask, kinds):
        if each is not None:
            _check_batch(each, path)
    for each in (mask, kinds):
        if each is not None and (each.dtype not in MASK_TYPES or len(each.shape or (1, 1)) != 2):
            raise ImportModelError(f"{path} takes {each}; it must have two axes, (N, L)")
    return TextGraph(graph, ids, mask, kinds, _given(graph, tower), ids.shape[1] if ids.shape else None)


def output_of(model: onnx.ModelProto, path: Path, wanted: str | None, contract: str, option: str) -> str:
    outputs = ends_of(model.graph.output)
    names = [each.name for each in outputs]
    if wanted is not None and wanted not in names:
        raise ImportModelError(f"{path} has no output {wanted!r}; it has {_listed(outputs)}")
    if wanted is None and contract not in names and len(names) != 1:
        raise ImportModelError(f"{path} has several outputs, {_listed(outputs)}; name the embeddings with {option}")
    found = wanted or (contract if contract in names else names[0])
    if found not in {name for node in model.graph.node for name in node.output}:
        raise ImportModelError(f"{path}: nothing computes the output {found!r}")
    return found


def _given(graph: Graph, tower: Tower) -> End:
    """The output of an encoder."""
    [output] = ends_of(graph.model.graph.output)
    if tower in (IMAGE_TOKENS, TEXT_TOKENS):
        if output.dtype not in FLOATS or len(output.shape or (1, 1, 1)) != 3:
            raise ImportModelError(
                f"{graph.path} gives {output}; with a scorer an encoder gives tokens, floating-point numbers with "
                "three axes, (N, T, D)"
            )
    elif output.dtype not in FLOATS or len(output.shape or (1, 1)) != 2:
        raise ImportModelError(
            f"{graph.path} gives {output}; embeddings are floating-point numbers with two axes, (N, D): pool, project "
            "and cast inside the graph (tokens need a scorer, --scorer)"
        )
    return output


def ends_of(values: Iterable[onnx.ValueInfoProto]) -> list[End]:
    return [_end(each) for each in values]


def _end(value: onnx.ValueInfoProto) -> End:
    tensor = value.type.tensor_type
    dtype = tensor.elem_type if tensor.elem_type in TensorProto.DataType.values() else TensorProto.UNDEFINED
    if not tensor.HasField("shape"):
        return End(value.name, dtype, None)
    sizes = (each.dim_value if each.HasField("dim_value") else None for each in tensor.shape.dim)
    return End(value.name, dtype, tuple(size if size is not None and size > 0 else None for size in sizes))


def _check_batch(given: End, path: Path) -> None:
    if (given.fixed_batch or 1) > MAX_FIXED_BATCH:
        raise ImportModelError(
            f"{path} takes {given}, so many at once; export it with a free batch axis (dynamic_axes)"
        )


def _called(ends: Iterable[End], names: tuple[str, ...]) -> End | None:
    return next((each for each in ends if each.name.lower() in names), None)


def _listed(ends: list[End]) -> str:
    return together([str(each) for each in ends[:8]]) or "none"
