"""A user's graph with the inputs and outputs of the contract: other names, and a few nodes at both ends.

Every node that is added is known to all backends, and says the same in every opset from 11 on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from cxrzero.backends.base import IMAGE, IMAGE_TOKENS, LOGITS, TEXT, TEXT_TOKENS, Tower
from cxrzero.convert.own.ends import End, ImageGraph, TextGraph

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Change:
    """What a rewritten graph does beside what it did.

    Attributes:
        normalise: embeddings get length 1.
        pad_id: of texts, from which their mask is derived.
        ends_with_pad: the first padding token of a text is a token.
    """

    normalise: bool
    pad_id: int = 0
    ends_with_pad: bool = False


def rewritten_image(image: ImageGraph, size: Shape, gives: Shape, change: Change) -> onnx.ModelProto:
    """`pixel_values` (N, 3, *size) float32 → `image_embeds` (N, D) or `image_tokens` (N, T, D) float32.

    Args:
        gives: (D,) or (T, D).
    """
    made = _Graph(image.graph.model, IMAGE if len(gives) == 1 else IMAGE_TOKENS, image.output)
    value = IMAGE.input
    if image.channels == 1:
        value = made.add("Slice", value, made.numbers(0), made.numbers(1), made.numbers(1))
    if image.channels_last:
        value = made.add("Transpose", value, perm=[0, 2, 3, 1])
    if image.input.dtype != TensorProto.FLOAT:
        value = made.cast(value, image.input.dtype)
    made.feed(image.input, value)
    return made.finish({IMAGE.input: (TensorProto.FLOAT, ["N", 3, *size])}, ["N", *gives], change.normalise)


def rewritten_text(text: TextGraph, length: int, gives: Shape, change: Change) -> onnx.ModelProto:
    """`input_ids` (N, length) int64 → `text_embeds` (N, D) or `text_tokens` (N, S', E) float32."""
    made = _Graph(text.graph.model, TEXT if len(gives) == 1 else TEXT_TOKENS, text.output)
    ids = TEXT.input
    if text.mask is not None:
        is_padding = made.add("Equal", ids, made.numbers(change.pad_id))
        if change.ends_with_pad:  # padding is what follows it
            axis, first = made.numbers(1), made.numbers(0)
            before = made.add("Slice", ids, first, made.numbers(-1), axis)
            before = made.add("Concat", made.add("Slice", ids, first, axis, axis), before, axis=1)
            is_padding = made.add("And", is_padding, made.add("Equal", before, made.numbers(change.pad_id)))
        made.feed(text.mask, made.cast(made.add("Not", is_padding), text.mask.dtype))
    if text.kinds is not None:
        made.feed(text.kinds, made.cast(made.add("Sub", ids, ids), text.kinds.dtype))
    made.feed(text.ids, ids if text.ids.dtype == TensorProto.INT64 else made.cast(ids, text.ids.dtype))
    return made.finish({TEXT.input: (TensorProto.INT64, ["N", length])}, ["N", *gives], change.normalise)


def rewritten_scorer(
    model: onnx.ModelProto, inputs: Sequence[End], output: End, tokens: Sequence[Shape]
) -> onnx.ModelProto:
    """`image_tokens` (N, T, D) and `text_tokens` (L, S', E) float32 → `logits` (N, L) float32."""
    made = _Graph(model, LOGITS, output)
    for end, name in zip(inputs, LOGITS.inputs, strict=True):
        made.feed(end, name if end.dtype == TensorProto.FLOAT else made.cast(name, end.dtype))
    axes = zip(LOGITS.inputs, "NL", tokens, strict=True)
    shapes: dict[str, tuple[int, Sequence[str | int]]]
    shapes = {name: (TensorProto.FLOAT, [axis, *sizes]) for name, axis, sizes in axes}
    return made.finish(shapes, ["N", "L"], normalise=False)


class _Graph:
    """A copy of a graph that gets nodes in front and behind."""

    def __init__(self, model: onnx.ModelProto, tower: Tower, output: End) -> None:
        self.model = onnx.ModelProto()
        self.model.CopyFrom(model)
        self.tower, self.output = tower, output
        graph = self.model.graph
        self.names = {name for node in graph.node for name in (*node.input, *node.output)}
        self.names |= {each.name for each in (*graph.initializer, *graph.input)}
        self.front: list[NodeProto] = []
        # The contract's names are for the contract's ends.
        self.rename({name: self.fresh(name) for name in (*tower.inputs, tower.output) if name in self.names})

    def fresh(self, name: str) -> str:
        """A name that nothing has."""
        found, number = name, 0
        while not found or found in self.names or found in (*self.tower.inputs, self.tower.output):
            number += 1
            found = f"{name}_{number}"
        self.names.add(found)
        return found

    def rename(self, names: dict[str, str]) -> None:
        graph = self.model.graph
        self.renamed = names
        for node in graph.node:
            for side in (node.input, node.output):
                side[:] = [names.get(name, name) for name in side]
        for each in graph.initializer:
            each.name = names.get(each.name, each.name)

    def numbers(self, *values: int) -> str:
        """A constant of whole numbers."""
        name = self.fresh("number")
        self.model.graph.initializer.append(numpy_helper.from_array(np.array(values, np.int64), name))
        return name

    def add(self, operator: str, *inputs: str, **attributes: object) -> str:
        """A node in front of the graph, and what its result is called."""
        output = self.fresh(operator.lower())
        self.front.append(helper.make_node(operator, inputs, [output], **attributes))
        return output

    def cast(self, value: str, dtype: int) -> str:
        return self.add("Cast", value, to=dtype)

    def feed(self, given: End, value: str) -> None:
        """Give the graph a value in the place of an input."""
        own = self.renamed.get(given.name, given.name)
        self.front.append(helper.make_node("Identity", [value], [own]))

    def finish(
        self, inputs: Mapping[str, tuple[int, Sequence[str | int]]], gives: Sequence[str | int], normalise: bool
    ) -> onnx.ModelProto:
        """The graph with the contract's inputs (name → type and axes) and its output."""
        graph = self.model.graph
        value = self.renamed.get(self.output.name, self.output.name)
        behind = []
        if self.output.dtype != TensorProto.FLOAT:
            cast = self.fresh("cast")
            behind.append(helper.make_node("Cast", [value], [cast], to=TensorProto.FLOAT))
            value = cast
        last = {"op_type": "LpNormalization", "axis": 1, "p": 2} if normalise else {"op_type": "Identity"}
        behind.append(helper.make_node(inputs=[value], outputs=[self.tower.output], **last))
        nodes = [*self.front, *graph.node, *behind]
        del graph.node[:], graph.input[:], graph.output[:]
        graph.node.extend(nodes)
        given = [helper.make_tensor_value_info(name, dtype, list(axes)) for name, (dtype, axes) in inputs.items()]
        graph.input.extend(given)
        graph.output.append(helper.make_tensor_value_info(self.tower.output, TensorProto.FLOAT, list(gives)))
        return self.model
