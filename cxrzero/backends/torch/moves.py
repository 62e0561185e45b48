"""Moves of elements in a program: several are one strided view, and products come before them."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from cxrzero.backends.torch.layout import Layout
from cxrzero.backends.torch.ops import Attributes
from cxrzero.backends.torch.program import Kind, Program, Step

# Operators that move elements and compute nothing.
MOVES = ("Flatten", "Gather", "Identity", "Reshape", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze")


def fuse_moves(program: Program) -> None:
    """Let what a product made be seen where it lies, by whoever takes it."""
    _move_after_products(program)
    _view_products(program)


def view(attributes: Attributes, x: Tensor) -> Tensor:
    """Of a contiguous tensor that has its memory for itself."""
    return x.as_strided(attributes["shape"], attributes["strides"], attributes["offset"])


def transpose(attributes: Attributes, x: Tensor) -> Tensor:
    return x.permute(attributes["perm"])


def _move_after_products(program: Program) -> None:
    """A product with a stored matrix does not ask how the places before the last axis are ordered: it comes first."""
    makers, users = program.makers(), program.users()
    for step in [each for each in program.steps if each.operator == "Linear"]:
        move = makers.get(step.inputs[0])
        if move is None or move.operator != "Transpose" or len(users[step.inputs[0]]) > 1:
            continue
        order = move.attributes.get("perm", [])
        if not order or order[-1] != len(order) - 1:
            continue
        inner, kind = f"{step.outputs[0]}:unmoved", program.kinds[step.outputs[0]]
        back = [order.index(place) for place in range(len(order))]
        program.kinds[inner] = Kind(tuple(kind.shape[place] for place in back), kind.dtype)
        moved = Step("Transpose", transpose, {"perm": order}, [inner], step.outputs)
        step.inputs[0], step.outputs = move.inputs[0], [inner]
        program.steps.remove(move)
        program.steps.insert(program.steps.index(step) + 1, moved)


def _view_products(program: Program) -> None:
    """Moves of what a product made are one strided view of it, where there is one."""
    makers = program.makers()
    layouts: dict[str, tuple[str, Layout | None]] = {}
    for step in program.steps:
        if step.operator == "Linear":
            layouts[step.outputs[0]] = step.outputs[0], Layout.contiguous(program.kinds[step.outputs[0]].shape)
        elif step.operator in MOVES and (origin := layouts.get(step.inputs[0])) is not None:
            made = _moved(program, step, origin[1]) if origin[1] else [None] * len(step.outputs)
            layouts.update((name, (origin[0], each)) for name, each in zip(step.outputs, made, strict=False))
    ends = {name for step in program.steps if step.operator not in MOVES for name in step.inputs}
    for name in sorted(ends & layouts.keys()):
        root, layout = layouts[name]
        found = layout.strided() if layout else None
        if found is None or root == name or len(makers[name].outputs) > 1:
            continue
        attributes = dict(zip(("shape", "strides", "offset"), found, strict=True))
        program.replace(makers[name], Step("View", view, attributes, [root], [name]))


def _moved(program: Program, step: Step, layout: Layout) -> list[Layout | None]:
    """Where each output of a move lies."""
    read, constants = step.attributes.get, [program.constants.get(name) for name in step.inputs[1:]]
    if step.operator == "Transpose":
        return [layout.permute(read("perm", list(range(len(layout.axes)))[::-1]))]
    if step.operator == "Gather":
        axis, place = read("axis", 0) % len(layout.axes), constants[0]
        if not isinstance(place, int):
            return [None]
        row = layout.narrow(axis, place % layout.shape[axis], 1)
        return [row and row.reshape(program.kinds[step.outputs[0]].shape)]
    if step.operator == "Slice":
        return [_sliced(layout, constants)]
    if step.operator == "Split":
        axis, start, parts = read("axis", 0) % len(layout.axes), 0, []
        for name in step.outputs:
            size = program.kinds[name].shape[axis]
            parts.append(layout.narrow(axis, start, size))
            start += size
        return parts
    return [layout.reshape(program.kinds[step.outputs[0]].shape)]


def _sliced(layout: Layout, constants: list[Any]) -> Layout | None:
    starts, ends, *rest = constants
    axes = rest[0] if rest and rest[0] is not None else list(range(len(starts)))
    if len(rest) > 1 and rest[1] is not None and set(rest[1]) != {1}:
        return None
    found: Layout | None = layout
    for start, end, axis in zip(starts, ends, axes, strict=True):
        if found is None:
            break
        first, last, _ = slice(start, end).indices(found.shape[axis % len(found.axes)])
        found = found.narrow(axis % len(found.axes), first, last - first)
    return found
