"""From upright grey pixels to what an encoder eats, by the steps that its bundle names.

A bundle lists its steps in order. Geometry acts on the 8-bit grey picture with Pillow (the libraries that the models
were trained with do the same), `rescale` turns it into float32, and what follows acts on numbers:

    stretch          rounding: "floor", "nearest"            darkest → 0, brightest → 255, on the whole picture
    resize           height, width, interpolation            stretched to exactly that size
    resize_shortest  size, interpolation                     CLIP: shorter side = size, longer = int(size·long/short)
    resize_longest   size, interpolation                     CheXzero: longer side = size, both sides int(side·ratio)
    resize_longest_area  size                                CARZero: OpenCV's INTER_AREA, longer side = size exactly
    center_crop      height, width                           offset = round((H − height) / 2), torchvision's rule
    pad_to_square    size, fill                              CheXzero: pasted at ((size − w)//2, (size − h)//2)
    expand_to_square minimum, fill                          MedCLIP: the same with size = max(minimum, h, w)
    rescale          factor                                  uint8 → float32 · factor (1 keeps 0–255)
    normalize        mean, std (three each)                  (x − mean) / std, one grey channel becomes three
    resize_tensor    size, interpolation="bicubic", antialias=false    on floats, after rescale

Interpolations: nearest, bilinear, bicubic, lanczos (Pillow's, antialiased when shrinking).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from cxrzero.errors import BundleError
from cxrzero.images.radiograph import GreyImage
from cxrzero.model.geometry import INTERPOLATIONS, STEPS, Geometry, Rule
from cxrzero.model.values import ValueSteps, resize_bicubic

FloatImage = npt.NDArray[np.float32]


class Preprocess:
    """The steps of one bundle, checked once, applied to many images; safe to call from several threads.

    Args:
        steps: the bundle's list, see the module.
        image_size: (height, width) that the result must have; None takes what the steps give.

    Attributes:
        is_grey: the three channels are equal.
        fit: the geometry alone, before `rescale`: (H, W) uint8 → (h, w) uint8.
        geometry: names what `fit` does: preprocessings that have it alike fit alike.
        value_steps: what follows `fit`, where that may run beside the encoder; None where it is more, or where pictures
            of several sizes, or of a wrong one, would come to it.

    Raises:
        BundleError: an unknown step, missing, unknown or wrong parameters, or a result of another size; without
            `image_size`, one whose size depends on the picture.
    """

    def __init__(self, steps: Sequence[Mapping[str, Any]], image_size: tuple[int, int] | None) -> None:
        self._steps = tuple(dict(step) for step in steps)
        rules: list[Rule] = []
        self._numeric: list[Callable[[FloatImage], FloatImage]] = []
        factor, rescaled = 1.0, False
        for step in steps:
            name, parameters = step["step"], {k: v for k, v in step.items() if k != "step"}
            if name == "rescale" and not rescaled:
                factor = _bind(_rescale, name, parameters)()
                rescaled = True
            elif name in STEPS and not rescaled:
                rules.append(_bind(STEPS[name], name, parameters))
            elif name in _NUMERIC and rescaled:
                self._numeric.append(_bind(_NUMERIC[name], name, parameters))
            else:
                raise BundleError(f"preprocess step {name!r} is unknown, repeated or out of order; update cxrzero")
        if not rescaled:
            raise BundleError("preprocess has no step 'rescale'")
        self.fit = Geometry(rules)
        self.geometry = json.dumps(self._steps[: len(rules)], sort_keys=True)
        # A trial run finds wrong parameters before any image is read.
        try:
            self._levels, self._numeric = _tabulate(factor, self._numeric)
            self.image_size = image_size or self._size_of_results()
            self.is_grey = len(self._values(self.fit(np.zeros((3, 2), np.uint8)))) == 1
        except (TypeError, ValueError, ZeroDivisionError) as error:
            raise BundleError(f"preprocess cannot be carried out: {error}") from error
        self.value_steps = self._value_steps()

    def __call__(self, pixels: GreyImage) -> FloatImage:
        """Turn one picture into encoder input.

        Args:
            pixels: (H, W) uint8, bright = dense.

        Returns:
            (3, height, width) float32.
        """
        return self.values(self.fit(pixels))

    def values(self, fitted: GreyImage) -> FloatImage:
        """What follows `fit`: (h, w) uint8, as that gives it → (3, height, width) float32."""
        return np.ascontiguousarray(np.broadcast_to(self._values(fitted), (3, *self.image_size)))

    def _values(self, fitted: GreyImage) -> FloatImage:
        """(1 or 3, height, width); 1 stands for three equal channels."""
        values = self._levels[:, fitted]
        for function in self._numeric:
            values = function(values)
        if values.shape[1:] != self.image_size:
            raise BundleError(f"preprocess gives {values.shape[1:]} pixels, the encoder takes {self.image_size}")
        return values

    def _size_of_results(self) -> tuple[int, int]:
        """(height, width) of every result.

        Raises:
            BundleError: it depends on the picture.
        """
        tall, wide = (self._levels[:, self.fit(np.zeros(size, np.uint8))] for size in ((3, 2), (2, 3)))
        for function in self._numeric:
            tall, wide = function(tall), function(wide)
        if tall.shape != wide.shape:
            raise BundleError("preprocess gives pictures of several sizes; end its geometry with a crop or a square")
        return tall.shape[1], tall.shape[2]

    def _value_steps(self) -> ValueSteps | None:
        steps = [step for step in self._numeric if isinstance(step, partial)]
        if any(step.func is not _resize_tensor for step in steps) or len(steps) > 1:
            return None
        found = ValueSteps(self._levels, *(step.keywords["size"] for step in steps))
        fitted = self.fit.fitted_size
        size = fitted if found.side is None else fitted and (found.side, found.side)
        return found if size == self.image_size else None

    @property
    def largest_side(self) -> int:
        """The longest side of any picture between the steps or at the end; a larger picture loses its detail there."""
        sizes: Iterator[int] = (step[key] for step in self._steps for key in ("height", "width", "size") if key in step)
        return max(*self.image_size, *sizes)

    def picture(self, pixel_values: FloatImage) -> GreyImage:
        """What the encoder sees, as a picture: normalisation undone, first channel, (height, width) uint8."""
        values = pixel_values[0].astype(np.float64)
        for step in reversed(self._steps):
            if step["step"] == "normalize":
                values = values * step["std"][0] + step["mean"][0]
            elif step["step"] == "rescale":
                values = values / step["factor"]
        return np.asarray(np.clip(np.rint(values), 0, 255), np.uint8)


def _tabulate(
    factor: float, numeric: Sequence[Callable[[FloatImage], FloatImage]]
) -> tuple[FloatImage, list[Callable[[FloatImage], FloatImage]]]:
    """Tabulate what becomes of the 256 grey levels, (1 or 3, 256) float32, beside the steps that need neighbours.

    One row stands for three equal channels.
    """
    # Multiply in float64 and round once: factor 1/255 then equals a division by 255 in float32.
    levels = (np.arange(256, dtype=np.float64) * factor).astype(np.float32)[None, None]
    left = list(numeric)
    while left and _is_pointwise(left[0]):
        levels = left.pop(0)(levels)
    table = levels[:, 0]
    return (table[:1] if (table == table[0]).all() else table), left


def _is_pointwise(step: Callable[..., Any]) -> bool:
    return isinstance(step, partial) and step.func is _normalize


def _bind(function: Callable[..., Any], name: str, parameters: dict[str, Any]) -> Callable[..., Any]:
    allowed = set(function.__annotations__) - {"picture", "values", "return"}
    if set(parameters) != allowed:
        raise BundleError(f"preprocess step {name!r} takes exactly: {', '.join(sorted(allowed))}")
    if "interpolation" in parameters and parameters["interpolation"] not in list(INTERPOLATIONS):
        raise BundleError(f"preprocess step {name!r}: unknown interpolation {parameters['interpolation']!r}")
    for key in ("height", "width", "size", "minimum"):
        if key in parameters and (type(parameters[key]) is not int or not 1 <= parameters[key] <= 4096):
            raise BundleError(f"preprocess step {name!r}: {key} must be a whole number from 1 to 4096")
    return partial(function, **parameters)


def _rescale(factor: float) -> float:
    if isinstance(factor, bool) or not isinstance(factor, int | float):
        raise BundleError("preprocess step 'rescale': factor must be a number")
    return float(factor)


def _normalize(values: FloatImage, mean: Sequence[float], std: Sequence[float]) -> FloatImage:
    if len(mean) != 3 or len(std) != 3:
        raise ValueError("normalize takes three means and three standard deviations")
    centre = np.asarray(mean, np.float32).reshape(3, 1, 1)
    spread = np.asarray(std, np.float32).reshape(3, 1, 1)
    if not (np.isfinite(centre).all() and np.isfinite(spread).all() and (spread > 0).all()):
        raise ValueError("normalize: means must be finite and standard deviations above 0")
    return np.asarray((values - centre) / spread, np.float32)


def _resize_tensor(values: FloatImage, size: int, interpolation: str, antialias: bool) -> FloatImage:
    """Bicubic resize of (C, H, W) float32 as torch.nn.functional.interpolate does without antialias."""
    if interpolation != "bicubic" or antialias is not False:
        raise ValueError("resize_tensor knows bicubic without antialias only")
    return resize_bicubic(values, size)


_NUMERIC: dict[str, Callable[..., FloatImage]] = {"normalize": _normalize, "resize_tensor": _resize_tensor}
