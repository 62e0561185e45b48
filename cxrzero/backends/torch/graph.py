"""An ONNX file executed with torch, operator by operator.

A bundle holds its encoders as ONNX only, so this is how torch runs the very same weights. Whatever depends on stored
values alone (the casts behind half-size matrices, index arithmetic) is computed once, when the file is opened.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import torch
from onnx import AttributeProto, NodeProto
from torch import Tensor

from cxrzero.backends.torch.ops import NUMERIC, STRUCTURAL, Function, UnknownFormError, to_tensor
from cxrzero.errors import BundleError
from cxrzero.model.weights import map_tensors

OPSETS = range(13, 21)
# Operators whose matrix may be kept in the reduced type that autocast computes in.
PRODUCTS = ("Conv", "Gemm", "MatMul")


@dataclass(frozen=True, slots=True)
class GraphStep:
    """One operator of the file, and the values that nobody needs after it."""

    operator: str
    function: Function
    attributes: Mapping[str, Any]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    spent: tuple[str, ...]


class TorchGraph:
    """One encoder.

    Args:
        path: an ONNX file of a bundle.
        output: the one output that is wanted; what only others need is left out.
        device: where its weights are and where it runs.
        matrix_dtype: in which the matrices of products are kept.

    Attributes:
        inputs: names of what a call must give.
        steps: what runs for every batch, in its order.
        values: name → numbers that are stored.

    Raises:
        BundleError: not an ONNX file, no such output, or an operator that this program does not know.
    """

    def __init__(
        self, path: Path, output: str, device: torch.device | str = "cpu", matrix_dtype: torch.dtype = torch.float32
    ) -> None:
        model = _read(path)
        self.path = path
        self.output = output
        self.device = torch.device(device)
        nodes = _needed(model.graph.node, output)
        stored = map_tensors(path)
        self.values = {each.name: to_tensor(each) for each in model.graph.initializer if each.name not in stored}
        self.values |= {name: torch.from_numpy(value) for name, value in stored.items()}
        self.inputs = {value.name for value in model.graph.input} - set(self.values)
        if output not in {value.name for value in model.graph.output}:
            raise BundleError(f"{path} has no output {output}")
        self.steps = self._fold([_step(node, path) for node in nodes])
        self._keep_matrices(matrix_dtype)
        self.values = {name: self._place(value) for name, value in self.values.items()}

    def __call__(self, name: str, value: Tensor) -> Tensor:
        """Run it: the only input, called `name`, on the graph's device → the output."""
        return self.run({name: value})

    @torch.inference_mode()
    def run(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Run it: each input by its name, on the graph's device → the output."""
        values = dict(inputs)
        for step in self.steps:
            results = self.run_step(step, [values[n] if n in values else self.values.get(n) for n in step.inputs])
            values.update(zip(step.outputs, results, strict=False))
            for spent in step.spent:
                values.pop(spent, None)
        return values[self.output]

    def run_step(self, step: GraphStep, inputs: Sequence[Tensor | None]) -> list[Tensor]:
        """The outputs of a step.

        Raises:
            BundleError: its attributes ask for what is not known.
        """
        if step.operator in NUMERIC and len({x.device for x in inputs if x is not None}) > 1:
            inputs = [None if x is None else x.to(self.device) for x in inputs]
        try:
            result = step.function(step.attributes, *inputs)
        except UnknownFormError as error:
            raise BundleError(f"{self.path}: {step.operator} with {error} is not known to the torch backend") from error
        return result if isinstance(result, list) else [result]

    def _fold(self, steps: list[GraphStep]) -> list[GraphStep]:
        """Compute what depends on stored values alone; what is left runs for every batch."""
        left = []
        for step in steps:
            if all(name in self.values or not name for name in step.inputs):
                results = self.run_step(step, [self.values.get(name) for name in step.inputs])
                self.values.update(zip(step.outputs, results, strict=False))
            else:
                left.append(step)
        used = {name for step in left for name in step.inputs}
        self.values = {name: value for name, value in self.values.items() if name in used}
        return _with_ends(left, self.output)

    def _keep_matrices(self, dtype: torch.dtype) -> None:
        users: dict[str, set[str]] = {}
        for step in self.steps:
            for name in step.inputs:
                users.setdefault(name, set()).add(step.operator)
        for name, value in self.values.items():
            if value.is_floating_point() and value.ndim >= 2 and users[name] <= set(PRODUCTS):
                self.values[name] = value.to(dtype)

    def _place(self, value: Tensor) -> Tensor:
        """Weights go to the device; whole numbers are mostly shapes, which are read on the CPU."""
        return value.to(self.device).contiguous() if value.is_floating_point() else value


def _read(path: Path) -> onnx.ModelProto:
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as error:  # protobuf's errors share no public base class
        raise BundleError(f"{path} cannot be loaded: it is not an ONNX model") from error
    versions = {opset.domain: opset.version for opset in model.opset_import}
    if versions.get("", versions.get("ai.onnx", 0)) not in OPSETS:
        raise BundleError(f"{path}: the torch backend reads ONNX opsets {OPSETS[0]} to {OPSETS[-1]}; use another")
    return model


def _needed(nodes: Iterable[NodeProto], output: str) -> list[NodeProto]:
    wanted = {output}
    kept = []
    for node in reversed(list(nodes)):
        if wanted & set(node.output):
            kept.append(node)
            wanted.update(node.input)
    return kept[::-1]


def _step(node: NodeProto, path: Path) -> GraphStep:
    function = None if node.domain not in ("", "ai.onnx") else NUMERIC.get(node.op_type, STRUCTURAL.get(node.op_type))
    if function is None:
        name = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
        raise BundleError(f"{path}: the torch backend does not know the operator {name}; use --backend onnxruntime")
    attributes = {each.name: _attribute(each) for each in node.attribute} | {"n_outputs": len(node.output)}
    return GraphStep(node.op_type, function, attributes, tuple(node.input), tuple(node.output), ())


def _attribute(attribute: AttributeProto) -> Any:
    value = onnx.helper.get_attribute_value(attribute)
    if isinstance(value, bytes):
        return value.decode()
    return value if isinstance(value, int | float | onnx.TensorProto) else list(value)


def _with_ends(steps: list[GraphStep], output: str) -> list[GraphStep]:
    """Say after which step each value is not needed any more, so that its memory is freed."""
    seen = {output}
    result = []
    for step in reversed(steps):
        names = {*step.inputs, *step.outputs}
        spent = tuple(names - seen)
        seen |= names
        result.append(GraphStep(step.operator, step.function, step.attributes, step.inputs, step.outputs, spent))
    return result[::-1]
