"""ONNX operators in torch: one table from operator to function, for the graphs that a bundle may hold.

These are the operators into which CLIP, timm, BERT and SigLIP towers are exported (opsets 13 to 20, default domain).
A function takes the node's attributes and its inputs and returns the output, or a list of them; semantics follow the
ONNX operator specification. What is not in the table is not guessed: `cxrzero.backends.torch.graph` refuses it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from onnx import TensorProto, numpy_helper
from torch import Tensor
from torch.nn import functional


class UnknownFormError(Exception):
    """An operator is asked in a form that no published tower has, and that is not computed here; says which."""


Attributes = Mapping[str, Any]
Function = Callable[..., Any]

DTYPES = {
    TensorProto.FLOAT: torch.float32,
    TensorProto.FLOAT16: torch.float16,
    TensorProto.BFLOAT16: torch.bfloat16,
    TensorProto.DOUBLE: torch.float64,
    TensorProto.INT32: torch.int32,
    TensorProto.INT64: torch.int64,
    TensorProto.UINT8: torch.uint8,
    TensorProto.BOOL: torch.bool,
}


def to_tensor(proto: TensorProto) -> Tensor:
    """A stored ONNX tensor as a torch tensor of its own memory."""
    return torch.from_numpy(numpy_helper.to_array(proto).copy())


def _ints(tensor: Tensor | Sequence[int]) -> list[int]:
    """Whole numbers that say how to move elements; a program has read them already."""
    if not isinstance(tensor, Tensor):
        return list(tensor)
    return [int(number) for number in tensor.flatten().tolist()]


def _scalar(value: Tensor | Sequence[int] | float) -> Any:
    """One number, of a tensor or already read."""
    if isinstance(value, Tensor):
        return value.item()
    return value if isinstance(value, int | float) else value[0]


def _axes(attributes: Attributes, given: Tensor | None) -> list[int] | None:
    """Axes were an attribute before they became an input (opset 13 or 18, by operator)."""
    axes = _ints(given) if given is not None else attributes.get("axes")
    return list(axes) if axes else None


def _simple(function: Callable[..., Any]) -> Function:
    return lambda attributes, *inputs: function(*inputs)


def _folded(function: Callable[[Tensor, Tensor], Tensor]) -> Function:
    """An operator of any number of inputs."""

    def fold(attributes: Attributes, first: Tensor, *others: Tensor) -> Tensor:
        for other in others:
            first = function(first, other)
        return first

    return fold


def _div(attributes: Attributes, a: Tensor, b: Tensor) -> Tensor:
    return torch.div(a, b) if a.is_floating_point() else torch.div(a, b, rounding_mode="trunc")


def _mod(attributes: Attributes, a: Tensor, b: Tensor) -> Tensor:
    return torch.fmod(a, b) if attributes.get("fmod", 0) else torch.remainder(a, b)


def _pow(attributes: Attributes, a: Tensor, b: Tensor) -> Tensor:
    return torch.pow(a, b.to(a.dtype))


def _clip(attributes: Attributes, x: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
    return x if low is None and high is None else torch.clamp(x, low, high)


def _cast(attributes: Attributes, x: Tensor) -> Tensor:
    return x.to(DTYPES[attributes["to"]])


def _gelu(attributes: Attributes, x: Tensor) -> Tensor:
    return functional.gelu(x, approximate=attributes.get("approximate", "none"))


def _softmax(attributes: Attributes, x: Tensor) -> Tensor:
    return torch.softmax(x, attributes.get("axis", -1))


def _gemm(attributes: Attributes, a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
    a = a.T if attributes.get("transA", 0) else a
    b = b.T if attributes.get("transB", 0) else b
    alpha, beta = attributes.get("alpha", 1.0), attributes.get("beta", 1.0)
    if alpha == beta == 1.0 and c is not None and c.ndim == 1:
        return functional.linear(a, b.T, c)
    product: Tensor = alpha * (a @ b)
    return product if c is None else product + beta * c


def _conv(attributes: Attributes, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    n_spatial = x.ndim - 2
    x, padding = _padded(attributes, x, n_spatial, 0.0)
    ones = [1] * n_spatial
    convolve: Callable[..., Tensor] = (functional.conv1d, functional.conv2d, functional.conv3d)[n_spatial - 1]
    strides, dilations = attributes.get("strides", ones), attributes.get("dilations", ones)
    return convolve(x, weight, bias, strides, padding, dilations, attributes.get("group", 1))


def _pool(function: Callable[..., Tensor], fill: float, attributes: Attributes, x: Tensor) -> Tensor:
    kernel = attributes["kernel_shape"]
    if any(step != 1 for step in attributes.get("dilations", ())):
        raise UnknownFormError("pooling with dilations")
    if attributes.get("ceil_mode", 0) and not _pools_evenly(attributes, x):
        raise UnknownFormError("pooling with ceil_mode")
    padded = any(attributes.get("pads", ()))
    if padded and function is functional.avg_pool2d and not attributes.get("count_include_pad", 0):
        raise UnknownFormError("average pooling that leaves padding out")
    x, padding = _padded(attributes, x, len(kernel), fill)
    return function(x, kernel, attributes.get("strides", [1] * len(kernel)), padding)


def _pools_evenly(attributes: Attributes, x: Tensor) -> bool:
    """Whether windows fill the input, so that rounding its size up or down is the same."""
    kernel = attributes["kernel_shape"]
    n_spatial = len(kernel)
    steps, pads = attributes.get("strides", [1] * n_spatial), attributes.get("pads", [0] * 2 * n_spatial)
    sides = zip(x.shape[-n_spatial:], pads[:n_spatial], pads[n_spatial:], kernel, steps, strict=True)
    return all((side + begin + end - width) % step == 0 for side, begin, end, width, step in sides)


def _padded(attributes: Attributes, x: Tensor, n_spatial: int, fill: float) -> tuple[Tensor, list[int]]:
    """Symmetric padding is left to the operator; any other is added here, and the operator adds none."""
    if attributes.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        raise UnknownFormError("auto_pad")
    pads = attributes.get("pads", [0] * 2 * n_spatial)
    begin, end = pads[:n_spatial], pads[n_spatial:]
    if begin == end and fill == 0.0:
        return x, list(begin)
    sides = [side for pair in zip(reversed(begin), reversed(end), strict=True) for side in pair]
    return functional.pad(x, sides, value=fill), [0] * n_spatial


def _batch_norm(attributes: Attributes, x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, var: Tensor) -> Tensor:
    return functional.batch_norm(x, mean, var, scale, bias, False, 0.0, attributes.get("epsilon", 1e-5))


def _layer_norm(attributes: Attributes, x: Tensor, scale: Tensor, bias: Tensor | None = None) -> Tensor:
    axis = attributes.get("axis", -1)
    return functional.layer_norm(x, x.shape[axis:], scale, bias, attributes.get("epsilon", 1e-5))


def _lp_norm(attributes: Attributes, x: Tensor) -> Tensor:
    """Zeros stay zeros, as ONNX Runtime and OpenVINO have it."""
    axis = attributes.get("axis", -1)
    norm = torch.linalg.vector_norm(x, ord=attributes.get("p", 2), dim=axis, keepdim=True)
    return torch.div(x, norm.masked_fill(norm == 0, 1))


def _reduce(function: Callable[..., Tensor], attributes: Attributes, x: Tensor, given: Tensor | None = None) -> Tensor:
    axes = _axes(attributes, given)
    if axes is None and attributes.get("noop_with_empty_axes", 0):
        return x
    result: Tensor = function(x, dim=axes or list(range(x.ndim)), keepdim=bool(attributes.get("keepdims", 1)))
    return result


def _argmax(attributes: Attributes, x: Tensor) -> Tensor:
    if attributes.get("select_last_index", 0):
        raise UnknownFormError("select_last_index")
    return torch.argmax(x, dim=attributes.get("axis", 0), keepdim=bool(attributes.get("keepdims", 1)))


def _constant(attributes: Attributes) -> Tensor:
    for name, dtype in (("value_float", torch.float32), ("value_int", torch.int64)):
        for key in (name, f"{name}s"):
            if key in attributes:
                return torch.tensor(attributes[key], dtype=dtype)
    return to_tensor(attributes["value"])


def _constant_of_shape(attributes: Attributes, shape: Tensor) -> Tensor:
    value = to_tensor(attributes["value"]) if "value" in attributes else torch.zeros(1)
    return value.reshape(()).expand(_ints(shape)).clone()


def _shape(attributes: Attributes, x: Tensor) -> Tensor:
    return torch.tensor(list(x.shape)[attributes.get("start", 0) : attributes.get("end")], dtype=torch.int64)


def _reshape(attributes: Attributes, x: Tensor, shape: Tensor) -> Tensor:
    sizes = _ints(shape)
    if not attributes.get("allowzero", 0):
        sizes = [x.shape[axis] if size == 0 else size for axis, size in enumerate(sizes)]
    return x.reshape(sizes)


def _flatten(attributes: Attributes, x: Tensor) -> Tensor:
    axis = attributes.get("axis", 1) % (x.ndim + 1)
    rows = 1
    for size in x.shape[:axis]:
        rows *= size
    return x.reshape(rows, -1)


def _squeeze(attributes: Attributes, x: Tensor, given: Tensor | None = None) -> Tensor:
    axes = _axes(attributes, given)
    return x.squeeze() if axes is None else x.squeeze(tuple(axes))


def _unsqueeze(attributes: Attributes, x: Tensor, given: Tensor | None = None) -> Tensor:
    axes = _axes(attributes, given) or []
    ndim = x.ndim + len(axes)
    for axis in sorted(axis % ndim for axis in axes):
        x = x.unsqueeze(axis)
    return x


def _expand(attributes: Attributes, x: Tensor, shape: Tensor) -> Tensor:
    sizes = _ints(shape)
    own = [1] * (len(sizes) - x.ndim) + list(x.shape)
    sizes = [1] * (len(own) - len(sizes)) + sizes
    return x.expand([size if mine == 1 else mine for mine, size in zip(own, sizes, strict=True)])


def _tile(attributes: Attributes, x: Tensor, repeats: Tensor) -> Tensor:
    return x.repeat(_ints(repeats))


def _concat(attributes: Attributes, *parts: Tensor) -> Tensor:
    return torch.cat(parts, dim=attributes["axis"])


def _split(attributes: Attributes, x: Tensor, sizes: Tensor | None = None) -> list[Tensor]:
    axis = attributes.get("axis", 0)
    if sizes is not None:
        return list(torch.split(x, _ints(sizes), dim=axis))
    pieces = attributes.get("num_outputs", attributes["n_outputs"])
    return list(torch.split(x, -(-x.shape[axis] // pieces), dim=axis))


def _slice(
    attributes: Attributes,
    x: Tensor,
    starts: Tensor,
    ends: Tensor,
    axes: Tensor | None = None,
    steps: Tensor | None = None,
) -> Tensor:
    first, last = _ints(starts), _ints(ends)
    along = _ints(axes) if axes is not None else list(range(len(first)))
    strides = _ints(steps) if steps is not None else [1] * len(first)
    for start, end, axis, step in zip(first, last, along, strides, strict=True):
        if step == 1:
            index: Any = slice(start, end)
        else:
            index = list(range(*slice(start, None if end < -x.shape[axis] else end, step).indices(x.shape[axis])))
        x = x[(slice(None),) * (axis % x.ndim) + (index,)]
    return x


def _gather(attributes: Attributes, x: Tensor, indices: Tensor | int) -> Tensor:
    axis = attributes.get("axis", 0) % x.ndim
    if isinstance(indices, int):
        return x.select(axis, indices)
    indices = torch.where(indices < 0, indices + x.shape[axis], indices)
    if indices.ndim == 0:
        return x.select(axis, int(indices))
    gathered = x.index_select(axis, indices.flatten())
    return gathered.reshape(*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])


def _gather_elements(attributes: Attributes, x: Tensor, indices: Tensor) -> Tensor:
    axis = attributes.get("axis", 0)
    return torch.gather(x, axis, torch.where(indices < 0, indices + x.shape[axis], indices))


def _transpose(attributes: Attributes, x: Tensor) -> Tensor:
    return x.permute(attributes.get("perm", list(range(x.ndim))[::-1]))


def _trilu(attributes: Attributes, x: Tensor, k: Tensor | None = None) -> Tensor:
    diagonal = 0 if k is None else int(_scalar(k))
    return torch.triu(x, diagonal) if attributes.get("upper", 1) else torch.tril(x, diagonal)


def _range(attributes: Attributes, start: Tensor, limit: Tensor, delta: Tensor) -> Tensor:
    return torch.arange(start.item(), limit.item(), delta.item(), dtype=start.dtype)


def _pad(
    attributes: Attributes, x: Tensor, pads: Tensor, value: Tensor | None = None, axes: Tensor | None = None
) -> Tensor:
    if attributes.get("mode", "constant") != "constant" or axes is not None:
        raise UnknownFormError("padding that is not constant, or along named axes")
    sides = _ints(pads)
    pairs = zip(reversed(sides[: x.ndim]), reversed(sides[x.ndim :]), strict=True)
    return functional.pad(x, list(itertools.chain(*pairs)), value=0.0 if value is None else _scalar(value))


# Operators whose further inputs are shapes, axes or places: they may stay on the CPU when the first is on a GPU.
STRUCTURAL: dict[str, Function] = {
    "Constant": _constant,
    "ConstantOfShape": _constant_of_shape,
    "Expand": _expand,
    "Flatten": _flatten,
    "Identity": _simple(lambda x: x),
    "Pad": _pad,
    "Range": _range,
    "Reshape": _reshape,
    "Shape": _shape,
    "Slice": _slice,
    "Split": _split,
    "Squeeze": _squeeze,
    "Tile": _tile,
    "Transpose": _transpose,
    "Trilu": _trilu,
    "Unsqueeze": _unsqueeze,
    "ReduceL2": partial(_reduce, partial(torch.linalg.vector_norm, ord=2)),
    "ReduceMax": partial(_reduce, torch.amax),
    "ReduceMean": partial(_reduce, torch.mean),
    "ReduceMin": partial(_reduce, torch.amin),
    "ReduceSum": partial(_reduce, torch.sum),
}

# Operators all of whose inputs must be on one device.
NUMERIC: dict[str, Function] = {
    "Abs": _simple(torch.abs),
    "Add": _simple(torch.add),
    "And": _simple(torch.logical_and),
    "ArgMax": _argmax,
    "AveragePool": partial(_pool, functional.avg_pool2d, 0.0),
    "BatchNormalization": _batch_norm,
    "Cast": _cast,
    "Clip": _clip,
    "Concat": _concat,
    "Conv": _conv,
    "Div": _div,
    "Equal": _simple(torch.eq),
    "Erf": _simple(torch.erf),
    "Exp": _simple(torch.exp),
    "Gather": _gather,
    "GatherElements": _gather_elements,
    "Gelu": _gelu,
    "Gemm": _gemm,
    "GlobalAveragePool": _simple(lambda x: x.mean(dim=tuple(range(2, x.ndim)), keepdim=True)),
    "Greater": _simple(torch.gt),
    "GreaterOrEqual": _simple(torch.ge),
    "IsNaN": _simple(torch.isnan),
    "LayerNormalization": _layer_norm,
    "Less": _simple(torch.lt),
    "LessOrEqual": _simple(torch.le),
    "Log": _simple(torch.log),
    "LpNormalization": _lp_norm,
    "MatMul": _simple(torch.matmul),
    "Max": _folded(torch.maximum),
    "MaxPool": partial(_pool, functional.max_pool2d, float("-inf")),
    "Min": _folded(torch.minimum),
    "Mod": _mod,
    "Mul": _simple(torch.mul),
    "Neg": _simple(torch.neg),
    "Not": _simple(torch.logical_not),
    "Or": _simple(torch.logical_or),
    "Pow": _pow,
    "Reciprocal": _simple(torch.reciprocal),
    "Relu": _simple(torch.relu),
    "Sigmoid": _simple(torch.sigmoid),
    "Softmax": _softmax,
    "Sqrt": _simple(torch.sqrt),
    "Sub": _simple(torch.sub),
    "Sum": _folded(torch.add),
    "Tanh": _simple(torch.tanh),
    "Where": _simple(torch.where),
}
