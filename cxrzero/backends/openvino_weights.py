"""OpenVINO's model of an ONNX file of a bundle, with the weights that lie beside the graph.

OpenVINO itself refuses to follow a link to them. So it is given the graph with each of those tensors as an input, and
then constants, which share the mapped file's memory, take the inputs' places.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy.typing as npt

from cxrzero.model.protobuf import fields, message, text
from cxrzero.model.weights import StoredTensor, map_tensors, stored_tensors

# ModelProto; GraphProto; TensorProto and ValueInfoProto: where each has its name
GRAPH = 7
INITIALIZER, INPUT = 5, 11
NAME = {INITIALIZER: 8, INPUT: 1}


def read_model(core: Any, path: Path) -> Any:
    """Read a graph and its weights.

    Raises:
        BundleError: the graph names weights that it may not have.
        RuntimeError: OpenVINO cannot read it.
    """
    stored = stored_tensors(path)
    if not stored:
        return core.read_model(path)
    model = core.read_model(_with_inputs(path.read_bytes(), stored))
    _fill(model, map_tensors(path))
    return model


def _with_inputs(data: bytes, stored: Collection[StoredTensor]) -> bytes:
    """The file with inputs in the places of those initializers."""
    view = memoryview(data)
    [graph] = [field for field in fields(view, 0, len(view)) if field.number == GRAPH]
    names = {tensor.name for tensor in stored}
    kept, inputs = [], set()
    for field in fields(view, graph.body, graph.end):
        if field.number in NAME:
            parts = fields(view, field.body, field.end)
            name = next((text(view, part) for part in parts if part.number == NAME[field.number]), "")
            if field.number == INPUT:
                inputs.add(name)
            elif name in names:
                continue
        kept.append(data[field.start : field.end])
    # Up to IR version 3 an initializer is an input as well.
    kept += [message((INPUT, _value_info(tensor))) for tensor in stored if tensor.name not in inputs]
    return data[: graph.start] + message((GRAPH, b"".join(kept))) + data[graph.end :]


def _value_info(tensor: StoredTensor) -> bytes:
    shape = message(*((1, message((1, size))) for size in tensor.shape))
    return message((1, tensor.name.encode()), (2, message((1, message((1, tensor.data_type), (2, shape))))))


def _fill(model: Any, weights: Mapping[str, npt.NDArray[Any]]) -> None:
    from openvino import op

    for parameter in model.get_parameters():
        [name] = parameter.output(0).get_names() & weights.keys() or [None]
        if name is not None:
            parameter.output(0).replace(op.Constant(weights[name], shared_memory=True).output(0))
            model.remove_parameter(parameter)
    model.validate_nodes_and_infer_types()
