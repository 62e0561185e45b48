"""A program in half precision: products in it, and fp32 where digits would be lost.

Weights are stored in the short format and so is what runs from product to product. Sums of two branches (the residual
stream) and norms are fp32: on drawn films that halves the deviation, and costs little.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cxrzero.backends.torch.fuse import cut_patches, fuse
from cxrzero.backends.torch.moves import MOVES
from cxrzero.backends.torch.ops import Attributes
from cxrzero.backends.torch.program import Kind, Program, Step, clean

FP32 = torch.float32

# Computed in the short format, with sums in fp32 inside.
PRODUCTS = ("Attention", "Conv", "Gemm", "Linear", "MatMul")

# Lose digits in the short format, or leave its range.
EXACT = (
    "AveragePool",
    "BatchNormalization",
    "Exp",
    "GlobalAveragePool",
    "LayerNormalization",
    "Log",
    "LpNormalization",
    "Pow",
    "ReduceL2",
    "ReduceMean",
    "ReduceSum",
    "Softmax",
)


def halve(program: Program, dtype: torch.dtype) -> Program:
    """Rewrite a program that takes and gives fp32 so that it computes in a short format between.

    Args:
        dtype: torch.float16 or torch.bfloat16.
    """
    clean(program)
    cut_patches(program)
    fuse(program)
    _Casting(program, dtype).rewrite()
    return program


class _Casting:
    """Says in which format each step computes, and casts what is in the other one."""

    def __init__(self, program: Program, dtype: torch.dtype) -> None:
        self._program, self._dtype = program, dtype
        self._dtypes = {program.input: FP32}
        self._steps: list[Step] = []

    def rewrite(self) -> None:
        program, kinds = self._program, self._program.kinds
        for step in program.steps:
            given = [self._dtypes[name] for name in step.inputs if name in self._dtypes]
            wanted = self._wanted(step, given)
            if wanted is not None:
                step.inputs = [self._in(name, wanted) for name in step.inputs]
            self._steps.append(step)
            made = self._made(step, wanted, given)
            self._dtypes |= {name: made or kinds[name].dtype for name in step.outputs if _is_float(kinds[name])}
        program.output = self._in(program.output, FP32)
        program.steps = self._steps

    def _wanted(self, step: Step, given: list[torch.dtype]) -> torch.dtype | None:
        """In which format a step takes its numbers; None leaves them as they are."""
        if not given or step.operator in (*MOVES, "Cast", "Patches", "View"):
            return None
        if step.operator in PRODUCTS:
            return self._dtype
        is_sum = step.operator == "Add" and len(given) == 2
        if step.operator in EXACT or any(dtype is not self._dtype for dtype in given):
            return None if is_sum else FP32  # torch adds both formats in fp32, without a cast before it
        return FP32 if is_sum else self._dtype

    def _made(self, step: Step, wanted: torch.dtype | None, given: list[torch.dtype]) -> torch.dtype | None:
        """In which format its result is; None where the operator says it itself."""
        if step.operator == "Cast" or not given:
            return None
        return wanted or (given[0] if len(given) == 1 else FP32)

    def _in(self, name: str, dtype: torch.dtype) -> str:
        """The name of a value in a format, cast where it is in the other one."""
        program, new = self._program, f"{name}:{dtype}"
        stored = program.constants.get(name)
        if isinstance(stored, Tensor):
            if not stored.is_floating_point() or stored.dtype == dtype:
                return name
            program.constants.setdefault(new, stored.to(dtype))
            return new
        if self._dtypes.get(name, dtype) == dtype:
            return name
        if new not in self._dtypes:
            self._steps.append(Step("Convert", _convert, {"dtype": dtype}, [name], [new]))
            self._dtypes[new] = dtype
        return new


def _is_float(kind: Kind) -> bool:
    return kind.dtype.is_floating_point


def _convert(attributes: Attributes, x: Tensor) -> Tensor:
    return x.to(attributes["dtype"])
