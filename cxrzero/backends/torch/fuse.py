"""Operators that an exporter took apart, put together again: patterns found in a program, not by a model's name.

What is put together rounds differently, so these are for half precision; fp32 runs the steps as they are but for the
first: cuDNN's convolution takes gigabytes to cut a picture into patches.
"""

from __future__ import annotations

import math

from torch import Tensor
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from cxrzero.backends.torch.moves import fuse_moves, transpose
from cxrzero.backends.torch.ops import Attributes
from cxrzero.backends.torch.program import Kind, Program, Step

GELU_SCALE = math.sqrt(2)
TOLERANCE = 1e-3  # of constants that were stored in half precision

# Of attention. cuDNN's is not among them: a ViT-B/32's d deviated 1.2% of its standard deviation with it, 0.9% without.
KERNELS = [SDPBackend.FLASH_ATTENTION, SDPBackend.MATH]


def cut_patches(program: Program) -> None:
    """A convolution that takes each pixel once is a product of patches with its weights."""
    for step in [each for each in program.steps if _cuts_patches(program, each)]:
        (x, weight, *bias), (made,) = step.inputs, step.outputs
        count, channels, down, across = program.kinds[made].shape
        stored = program.constants[weight]
        dtype = program.kinds[made].dtype
        rows, product = f"{made}:patches", f"{made}:product"
        matrix = f"{weight}:rows"
        program.constants[matrix] = stored.reshape(channels, -1)
        program.kinds[rows] = Kind((count, down, across, stored[0].numel()), dtype)
        program.kinds[product] = Kind((count, down, across, channels), dtype)
        program.replace(
            step,
            Step("Patches", patches, {"sides": tuple(stored.shape[2:])}, [x], [rows]),
            Step("Linear", linear, {}, [rows, matrix, *bias], [product]),
            Step("Transpose", transpose, {"perm": [0, 3, 1, 2]}, [product], [made]),
        )


def fuse(program: Program) -> None:
    """Put together products with their bias, GELUs and attention, and moves in one."""
    _fuse_linear(program)
    _fuse_gelu(program)
    _fuse_quick_gelu(program)
    _fuse_attention(program)
    fuse_moves(program)
    program.prune()


def linear(attributes: Attributes, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x: (…, in), weight: (out, in); the result is contiguous."""
    return functional.linear(x, weight, bias).contiguous()


def patches(attributes: Attributes, x: Tensor) -> Tensor:
    """(N, C, H, W) → (N, H / height, W / width, C · height · width), as a convolution's weights lie."""
    height, width = attributes["sides"]
    count, channels, high, wide = x.shape
    split = x.reshape(count, channels, high // height, height, wide // width, width)
    return split.permute(0, 2, 4, 1, 3, 5).reshape(count, high // height, wide // width, -1)


def attention(attributes: Attributes, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """query: (N, heads, tokens, width), key and value with tokens of their own."""
    with sdpa_kernel(KERNELS):
        return functional.scaled_dot_product_attention(query, key, value, scale=attributes["scale"])


def silu(attributes: Attributes, x: Tensor) -> Tensor:
    return functional.silu(x)


def gelu(attributes: Attributes, x: Tensor) -> Tensor:
    return functional.gelu(x)


def _cuts_patches(program: Program, step: Step) -> bool:
    weight, read = program.constants.get(step.inputs[1] if len(step.inputs) > 1 else ""), step.attributes.get
    if step.operator != "Conv" or not isinstance(weight, Tensor) or weight.ndim != 4 or "" in step.inputs:
        return False
    sides = list(weight.shape[2:])
    has_whole = all(size % side == 0 for size, side in zip(program.kinds[step.inputs[0]].shape[2:], sides, strict=True))
    is_plain = read("group", 1) == 1 and not any(read("pads", [])) and read("auto_pad", "NOTSET") in ("NOTSET", "VALID")
    return has_whole and is_plain and read("strides", [1, 1]) == sides and set(read("dilations", [1])) == {1}


def _fuse_linear(program: Program) -> None:
    users = program.users()
    for step in list(program.steps):
        if (weight := _weight(program, step)) is None:
            continue
        name = f"{step.inputs[1]}:rows"
        program.constants[name] = weight
        step.operator, step.function, step.attributes = "Linear", linear, {}
        step.inputs[1] = name
        add = _only(users, step.outputs[0], "Add")
        if len(step.inputs) == 2 and add is not None:
            bias = _other(add, step.outputs[0])
            if _is_vector(program, bias, len(weight)):
                step.inputs.append(bias)
                step.outputs = add.outputs
                program.steps.remove(add)


def _weight(program: Program, step: Step) -> Tensor | None:
    """(out, in) of a product with a stored matrix; None of any other step."""
    if step.operator not in ("Gemm", "MatMul"):
        return None
    matrix, read = program.constants.get(step.inputs[1]), step.attributes.get
    if not isinstance(matrix, Tensor) or matrix.ndim != 2 or step.inputs[0] in program.constants:
        return None
    if step.operator == "MatMul":
        return matrix.T
    is_plain = read("alpha", 1.0) == read("beta", 1.0) == 1.0 and not read("transA", 0)
    weight = matrix if read("transB", 0) else matrix.T
    has_vector = all(_is_vector(program, name, len(weight)) for name in step.inputs[2:])
    return weight if is_plain and has_vector else None


def _fuse_gelu(program: Program) -> None:
    """x · 0.5 · (1 + erf(x / √2)), multiplied in any order."""
    makers, users = program.makers(), program.users()
    for step in [each for each in program.steps if each.operator == "Erf"]:
        scaled = makers.get(step.inputs[0])
        plus = _only(users, step.outputs[0], "Add")
        if scaled is None or plus is None or not _is_near(_number(program, _other(plus, step.outputs[0])), 1.0):
            continue
        x, factor = _scaling(program, scaled)
        if not _is_near(factor, 1 / GELU_SCALE):
            continue
        end, total, has_x = plus, 1.0, False
        while (following := _only(users, end.outputs[0], "Mul")) is not None:
            other = _other(following, end.outputs[0])
            by_itself, own = _scaling(program, makers[other]) if other in makers else (other, None)
            if (number := _number(program, other)) is not None:
                total *= number
            elif not has_x and other == x:
                has_x = True
            elif not has_x and own is not None and by_itself == x:
                has_x, total = True, total * own
            else:
                break
            end = following
        if has_x and _is_near(total, 0.5):
            program.replace(end, Step("Gelu", gelu, {}, [x], end.outputs))


def _fuse_quick_gelu(program: Program) -> None:
    """x · σ(c·x) between two products: silu(c·x) / c, where the stored matrices take the factors."""
    makers, users = program.makers(), program.users()
    for step in [each for each in program.steps if each.operator == "Sigmoid"]:
        scaled, end = makers.get(step.inputs[0]), _only(users, step.outputs[0], "Mul")
        if scaled is None or end is None:
            continue
        x, factor = _scaling(program, scaled)
        before, after = makers.get(x), _only(users, end.outputs[0], "Linear")
        is_between = before is not None and before.operator == "Linear" and len(users[x]) == 2 and after is not None
        if factor is None or _other(end, step.outputs[0]) != x or not is_between:
            continue
        assert before is not None
        assert after is not None
        before.inputs[1:] = [_scale(program, name, factor) for name in before.inputs[1:]]
        after.inputs[1] = _scale(program, after.inputs[1], 1 / factor)
        program.replace(end, Step("Silu", silu, {}, [x], end.outputs))


def _scale(program: Program, name: str, factor: float) -> str:
    new = f"{name}:{factor}"
    program.constants[new] = program.constants[name].float() * factor
    return new


def _fuse_attention(program: Program) -> None:
    """softmax(c · query · keyᵀ) · value; the factor may stand at any of the three."""
    makers = program.makers()
    for step in [each for each in program.steps if each.operator == "Softmax"]:
        users = program.users()
        scores, scale = _unscaled(program, makers, step.inputs[0])
        product, end = makers.get(scores), _only(users, step.outputs[0], "MatMul")
        is_last = step.attributes.get("axis", -1) in (-1, len(program.kinds[step.inputs[0]].shape) - 1)
        if product is None or product.operator != "MatMul" or end is None or not is_last:
            continue
        query, of_query = _unscaled(program, makers, product.inputs[0])
        key, of_key = _unscaled(program, makers, product.inputs[1])
        value = end.inputs[1]
        sides = [program.kinds.get(name) for name in (query, key, value)]
        if end.inputs[0] != step.outputs[0] or not all(side and len(side.shape) == 4 for side in sides):
            continue
        upright = f"{key}:upright"
        shape, dtype = program.kinds[key].shape, program.kinds[key].dtype
        program.kinds[upright] = Kind((*shape[:2], shape[3], shape[2]), dtype)
        turn = Step("Transpose", transpose, {"perm": [0, 1, 3, 2]}, [key], [upright])
        fused = Step("Attention", attention, {"scale": scale * of_query * of_key}, [query, upright, value], end.outputs)
        program.replace(end, turn, fused)
        program.prune()


def _unscaled(program: Program, makers: dict[str, Step], name: str) -> tuple[str, float]:
    """What a value was before it was multiplied by numbers, and their product."""
    total = 1.0
    while (step := makers.get(name)) is not None:
        inner, factor = _scaling(program, step)
        if factor is None:
            break
        name, total = inner, total * factor
    return name, total


def _only(users: dict[str, list[Step | None]], name: str, operator: str) -> Step | None:
    """The step that alone takes a value, if it is of that operator."""
    found = users.get(name, [])
    step = found[0] if len(found) == 1 else None
    return step if step is not None and step.operator == operator else None


def _other(step: Step, name: str) -> str:
    return step.inputs[1] if step.inputs[0] == name else step.inputs[0]


def _number(program: Program, name: str) -> float | None:
    value = program.constants.get(name)
    if not isinstance(value, Tensor) or value.numel() != 1 or not value.is_floating_point():
        return None
    return float(value)


def _scaling(program: Program, step: Step) -> tuple[str, float | None]:
    """Of a product or quotient with a number: the other side, and the factor; None of any other step."""
    if step.operator in ("Div", "Mul"):
        for name in step.inputs[1:] if step.operator == "Div" else step.inputs:
            if number := _number(program, name):
                return _other(step, name), 1 / number if step.operator == "Div" else number
    return "", None


def _is_near(number: float | None, wanted: float) -> bool:
    return number is not None and abs(number - wanted) <= TOLERANCE * wanted


def _is_vector(program: Program, name: str, size: int) -> bool:
    value = program.constants.get(name)
    return isinstance(value, Tensor) and value.shape == (size,)
