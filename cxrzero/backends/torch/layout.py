"""Where the elements of a value lie in the tensor that they were moved out of.

Moves — reshape, transpose, slice, select — copy memory where they are run one by one, because torch's strides cannot
say what lies between. Here an axis may consist of several factors, so that nothing needs to be copied on the way; and
where each axis is one factor again in the end, the value is one strided view.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

Factor = tuple[int, int]  # size, stride
Axis = tuple[Factor, ...]  # outermost first


@dataclass(frozen=True, slots=True)
class Layout:
    """Axes of a value, and where its first element is."""

    axes: tuple[Axis, ...]
    offset: int = 0

    @staticmethod
    def contiguous(shape: Sequence[int]) -> Layout:
        strides = [math.prod(shape[place + 1 :]) for place in range(len(shape))]
        return Layout(tuple(_axis([pair]) for pair in zip(shape, strides, strict=True)))

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(math.prod(size for size, _ in axis) for axis in self.axes)

    def strided(self) -> tuple[tuple[int, ...], tuple[int, ...], int] | None:
        """(shape, strides, offset); None where an axis is not one factor."""
        if any(len(axis) > 1 for axis in self.axes):
            return None
        return self.shape, tuple(axis[0][1] if axis else 1 for axis in self.axes), self.offset

    def permute(self, order: Sequence[int]) -> Layout:
        return replace(self, axes=tuple(self.axes[place] for place in order))

    def reshape(self, shape: Sequence[int]) -> Layout | None:
        """None where a factor would have to be cut into parts that are not whole."""
        left = [factor for axis in self.axes for factor in axis][::-1]
        axes = []
        for size in shape:
            taken: list[Factor] = []
            while size > 1:
                have, stride = left.pop()
                part = math.gcd(size, have)
                if part not in (size, have):
                    return None
                inner = have // part
                taken.append((part, stride * inner))
                if inner > 1:
                    left.append((inner, stride))
                size //= part
            axes.append(_axis(taken))
        return replace(self, axes=tuple(axes))

    def narrow(self, axis: int, start: int, size: int) -> Layout | None:
        """Elements start … start + size of an axis; None where it is not one factor."""
        if len(self.axes[axis]) > 1:
            return None
        stride = self.axes[axis][0][1] if self.axes[axis] else 0
        axes = list(self.axes)
        axes[axis] = _axis([(size, stride)])
        return Layout(tuple(axes), self.offset + start * stride)


def _axis(factors: Sequence[Factor]) -> Axis:
    """Factors of more than one element, neighbours joined where together they are one."""
    joined: list[Factor] = []
    for size, stride in factors:
        if size == 1:
            continue
        if joined and joined[-1][1] == size * stride:
            joined[-1] = (joined[-1][0] * size, stride)
        else:
            joined.append((size, stride))
    return tuple(joined)
