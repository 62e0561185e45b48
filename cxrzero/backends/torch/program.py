"""A graph for inputs of one shape: what depends on shapes alone is computed, and what is left are steps on numbers.

Exporters write every reshape as a computation of its sizes: of the 2,000 operators of a ViT-B/32, 500 are left. A
program needs nothing of the CPU while it runs, so that a GPU can record it, and `torch.compile` can trace it whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from cxrzero.backends.torch.graph import TorchGraph
from cxrzero.backends.torch.ops import STRUCTURAL, Attributes, Function


class UnfixedError(Exception):
    """An operator reads numbers that only a run knows, so that there is no program; the message names it."""


@dataclass(slots=True, eq=False)
class Step:
    """One operator; names of values in and out, an input that is not given has none."""

    operator: str
    function: Function
    attributes: Attributes
    inputs: list[str]
    outputs: list[str]


@dataclass(frozen=True, slots=True)
class Kind:
    shape: tuple[int, ...]
    dtype: torch.dtype


class Program:
    """Steps in their order.

    Attributes:
        input, output: names of values.
        constants: name → stored numbers, or how a step moves elements.
        kinds: name → shape and type of a value before anything was rewritten.
    """

    def __init__(self, input_name: str, output: str, steps: list[Step], constants: dict[str, Any]) -> None:
        self.input, self.output = input_name, output
        self.steps, self.constants = steps, constants
        self.kinds: dict[str, Kind] = {}
        self._spent: list[tuple[str, ...]] = []

    def ready(self, device: torch.device | str) -> Program:
        """Place the constants that are used on a device; whoever rewrites a program does so before."""
        used = {name for step in self.steps for name in step.inputs}
        self.constants = {
            name: value.to(device).contiguous() if isinstance(value, Tensor) else value
            for name, value in self.constants.items()
            if name in used
        }
        self._spent = self._ends()
        return self

    def __call__(self, value: Tensor) -> Tensor:
        """(N, …) of the shape that it was made for, on its device → the output."""
        values: dict[str, Any] = {"": None, self.input: value}
        for step, spent in zip(self.steps, self._spent, strict=True):
            inputs = [values[name] if name in values else self.constants[name] for name in step.inputs]
            result = step.function(step.attributes, *inputs)
            values.update(zip(step.outputs, result if isinstance(result, list) else [result], strict=False))
            for name in spent:
                del values[name]
        return values[self.output]

    def makers(self) -> dict[str, Step]:
        """Value → the step that makes it."""
        return {name: step for step in self.steps for name in step.outputs}

    def users(self) -> dict[str, list[Step | None]]:
        """Value → the steps that take it, one for each time; None is whoever takes the output."""
        found: dict[str, list[Step | None]] = {self.output: [None]}
        for step in self.steps:
            for name in step.inputs:
                found.setdefault(name, []).append(step)
        return found

    def rename(self, old: str, new: str) -> None:
        for step in self.steps:
            step.inputs = [new if name == old else name for name in step.inputs]

    def replace(self, old: Step, *new: Step) -> None:
        place = self.steps.index(old)
        self.steps[place : place + 1] = new

    def prune(self) -> None:
        """Leave out what the output does not need."""
        needed, kept = {self.output}, []
        for step in reversed(self.steps):
            if needed & set(step.outputs):
                kept.append(step)
                needed.update(step.inputs)
        self.steps = kept[::-1]

    def _ends(self) -> list[tuple[str, ...]]:
        """After each step, which values are not needed any more, so that their memory is freed."""
        seen = {self.output, "", *self.constants}
        ends = []
        for step in reversed(self.steps):
            names = {*step.inputs, *step.outputs}
            ends.append(tuple(names - seen))
            seen |= names
        return ends[::-1]


@torch.inference_mode()
def specialise(graph: TorchGraph, name: str, kind: Kind) -> Program:
    """The program of a graph that is on the CPU, for inputs of one kind. Nothing is computed but shapes.

    Raises:
        UnfixedError: an operator reads numbers that only a run knows, or is used in a way that is not known.
    """
    known: dict[str, Any] = {"": None, **graph.values}
    fluid: dict[str, Tensor] = {name: torch.empty(kind.shape, dtype=kind.dtype, device="meta")}
    steps = []
    for step in graph.steps:
        is_fixed = step.operator == "Shape" or all(each in known for each in step.inputs)
        inputs = [known[each] if each in known else fluid[each] for each in step.inputs]
        if not is_fixed:
            inputs = _without_numbers(step.operator, inputs)
        try:
            result = step.function(step.attributes, *inputs)
        except RuntimeError as error:  # what meta tensors say when they are read, NotImplementedError among it
            raise UnfixedError(f"{step.operator} reads numbers that only a run knows") from error
        results = result if isinstance(result, list) else [result]
        (known if is_fixed else fluid).update(zip(step.outputs, results, strict=False))
        if not is_fixed:
            steps.append(Step(step.operator, step.function, step.attributes, [*step.inputs], [*step.outputs]))
    program = Program(name, graph.output, steps, known)
    program.kinds = {name: Kind(tuple(value.shape), value.dtype) for name, value in fluid.items()}
    for each in steps:
        _read_structure(program, each)
    return program


def _without_numbers(operator: str, inputs: Sequence[Tensor | None]) -> list[Tensor | None]:
    """The same, but of tensors on which operators compute only the shape is left."""
    found = list(inputs)
    for place, value in enumerate(inputs):
        if value is not None and not _is_structure(operator, place, value):
            found[place] = value.to("meta")
    return found


def _is_structure(operator: str, place: int, value: Tensor) -> bool:
    """Whether an operator reads this input on the CPU."""
    if operator == "Gather":
        return place == 1 and value.ndim == 0
    return place > 0 and operator in STRUCTURAL


def _read_structure(program: Program, step: Step) -> None:
    """Give a step Python's numbers in place of tensors that it would read each time."""
    for place, name in enumerate(step.inputs):
        value = program.constants.get(name)
        if isinstance(value, Tensor) and _is_structure(step.operator, place, value):
            new = f"{name}:{step.operator}"
            program.constants[new] = _read(value)
            step.inputs[place] = new


def _read(value: Tensor) -> Any:
    return value.flatten().tolist() if value.ndim else value.item()


def clean(program: Program) -> None:
    """Leave out steps that change nothing."""
    for step in list(program.steps):
        (first, *_), (made, *_) = step.inputs, step.outputs
        is_same = first in program.kinds and program.kinds[first] == program.kinds[made]
        if is_same and step.operator in ("Cast", "Expand", "Identity", "Reshape") and made != program.output:
            program.steps.remove(step)
            program.rename(made, first)
