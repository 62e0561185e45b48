"""Two measured detectors that need no encoder: is this picture a negative, and is it a chest X-ray at all?

One small convolutional network looks at a 48 × 48 thumbnail and at the thumbnail's negative. Its features h give both
answers, and the symmetry that each question has is built in rather than learned:

    inverted    a · h(x) − a · h(−x)         changes sign when the picture is inverted
    not chest   b · h(x) + b · h(−x) + c     stays the same, so a negative is not called "not chest" for being one

NumPy and Pillow only. Trained by recipes/detectors.py and recipes/not_chest.py, measured by benchmarks/detectors.py and
benchmarks/not_chest.py, results in docs/detectors.md.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from typing import Final

import numpy as np
from PIL import Image

from cxrzero.images.radiograph import GreyImage, Radiograph
from cxrzero.maths import Float32s, sigmoid

# What both detectors see. Coarser than the smallest pictures that they were trained on (64 pixels), so that the
# sharpness of a source says little.
SIDE: Final = 48
# A film is first thinned to at most about so many pixels a side: averaging a 7-megapixel film whole
# takes 5 ms.
THINNED: Final = 8 * SIDE
# Grey levels by which a row or column at the edge may vary and still be a frame around the picture; JPEG
# ripples by less.
FRAME_RIPPLE: Final = 12
# A thumbnail whose middle 98% spans fewer grey levels shows nothing.
BLANK_RANGE: Final = 4

# Places of the 1st and the 99th percentile among a thumbnail's sorted pixels.
_RANKS: Final = np.arange(SIDE * SIDE)
_MIDDLE_98: Final = np.array([0.01, 0.99]) * (SIDE * SIDE - 1)

# Even odds: a specificity of 0.97 is reached at 0.01 by every source of held-out training films (recipes/detectors.py
# prints this). The room between is left to hospitals that were not in the training data.
INVERTED_THRESHOLD: Final = 0.5
# Flags 0.2% of 1,998 held-out NIH films, whose patients no training saw (recipes/not_chest.py prints this score). It is
# bought with lateral films, of which one in five is flagged; even odds would flag one in fourteen, and no hip film.
NOT_CHEST_THRESHOLD: Final = 0.275


@dataclass(frozen=True, slots=True)
class Detections:
    """Answers of both detectors, each from 0 to 1.

    Attributes:
        inverted: 1 = certainly a negative. 0.5 for pictures with nothing in them. Says nothing about other pictures
            than chest films.
        not_chest: 1 = certainly no chest X-ray. The same for a picture and its negative.
    """

    inverted: float
    not_chest: float


def detect(pixels: GreyImage) -> Detections:
    """Both answers on one picture, for little more than the price of one.

    Args:
        pixels: (H, W) uint8, bright = dense, as in `Radiograph.pixels`; at least 1 × 1.
    """
    x = thumbnail(pixels)
    if not x.any():
        return Detections(inverted=0.5, not_chest=1.0)
    network = _network()
    upright, negative = network.features(np.stack([x, -x]))
    inverted = float(network.inverted @ (upright - negative))
    not_chest = float(network.not_chest @ (upright + negative)) + network.not_chest_bias
    return Detections(inverted=sigmoid(inverted), not_chest=sigmoid(not_chest))


def inverted_score(pixels: GreyImage) -> float:
    """How much a chest X-ray looks like a negative (bone dark, lung bright), 0 to 1; see `detect`."""
    return detect(pixels).inverted


def not_chest_score(pixels: GreyImage) -> float:
    """How much a picture looks like something else than a chest X-ray, 0 to 1; see `detect`."""
    return detect(pixels).not_chest


def judged(radiograph: Radiograph) -> Radiograph:
    """A radiograph with what its pixels look like among its flags."""
    return replace(radiograph, flags=radiograph.flags | detector_flags(radiograph.pixels))


def detector_flags(pixels: GreyImage) -> set[str]:
    """`maybe_inverted`, `maybe_not_chest_xray`, both or neither.

    Args:
        pixels: (H, W) uint8, bright = dense.
    """
    found = detect(pixels)
    flags = set()
    if found.inverted >= INVERTED_THRESHOLD:
        flags.add("maybe_inverted")
    if found.not_chest >= NOT_CHEST_THRESHOLD:
        flags.add("maybe_not_chest_xray")
    return flags


def thumbnail(pixels: GreyImage) -> Float32s:
    """What the network sees: flat frame cut off, squeezed to a square, contrast normalised.

    Args:
        pixels: (H, W) uint8.

    Returns:
        (SIDE, SIDE) float32 of mean 0 and standard deviation 1, or all zeros when the picture is blank.
    """
    height, width = pixels.shape
    thin = pixels[:: max(1, height // THINNED), :: max(1, width // THINNED)]
    small = Image.fromarray(_without_frame(np.ascontiguousarray(thin))).resize((SIDE, SIDE), Image.Resampling.BOX)
    grey = np.asarray(small, np.float32)
    # As np.percentile does, which is mostly Python, for which decoding threads take turns.
    low, high = np.interp(_MIDDLE_98, _RANKS, np.sort(grey, axis=None))
    if high - low < BLANK_RANGE:
        return np.zeros((SIDE, SIDE), np.float32)
    grey = np.clip(grey, low, high)
    normal: Float32s = ((grey - grey.mean()) / grey.std()).astype(np.float32)
    return normal


def _without_frame(pixels: GreyImage) -> GreyImage:
    """The picture inside its flat rows and columns at the edges; unchanged if it is flat throughout."""
    rows, columns = (np.flatnonzero(np.ptp(pixels, axis=axis) > FRAME_RIPPLE) for axis in (1, 0))
    if not rows.size or not columns.size:
        return pixels
    return np.ascontiguousarray(pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])


@dataclass(frozen=True, slots=True)
class _Network:
    """Weights of detectors.npz. Each layer: 3 × 3 convolution with stride 2 and a border of one zero, then ReLU.

    Attributes:
        layers: (kernel (9 · C, C'), bias (C')) of each convolution; kernel rows run over row, column, channel.
        inverted, not_chest: (F,) what each feature says.
        not_chest_bias: log odds of "not chest" without any evidence.
    """

    layers: tuple[tuple[Float32s, Float32s], ...]
    inverted: Float32s
    not_chest: Float32s
    not_chest_bias: float

    def features(self, x: Float32s) -> Float32s:
        """(N, SIDE, SIDE) → (N, F)."""
        h = x[..., None]
        for kernel, bias in self.layers:
            # One small product per row: BLAS would spread a large one over cores that decoding keeps busy, which
            # took ten times as long.
            h = _patches(h) @ kernel
            h += bias
            np.maximum(h, 0, out=h)
        return h.reshape(len(h), -1)


def _patches(h: Float32s) -> Float32s:
    """(N, H, W, C), H and W even → (N, H/2, W/2, 9 · C): the 3 × 3 around every second place, zeros beyond the edge.

    In as few calls as can be: decoding threads take turns for what is done in Python itself.
    """
    n, height, width, channels = h.shape
    padded = np.zeros((n, height + 2, width + 2, channels), np.float32)
    padded[:, 1:-1, 1:-1] = h
    film, row, column, channel = padded.strides
    windows: Float32s = np.ndarray(
        (n, height // 2, width // 2, 3, 3, channels),
        np.float32,
        padded,
        strides=(film, 2 * row, 2 * column, row, column, channel),
    )
    return windows.reshape(n, height // 2, width // 2, -1)


@cache
def _network() -> _Network:
    """Read once; two threads that come first together read the same twice, which does no harm."""
    with (
        (resources.files("cxrzero.images") / "detectors.npz").open("rb") as file,
        np.load(file, allow_pickle=False) as z,
    ):
        weights = {name: np.asarray(z[name], np.float32) for name in z.files}
    n_layers = sum(name.startswith("kernel") for name in weights)
    return _Network(
        layers=tuple((weights[f"kernel{i}"], weights[f"bias{i}"]) for i in range(n_layers)),
        inverted=weights["inverted"],
        not_chest=weights["not_chest"],
        not_chest_bias=float(weights["not_chest_bias"]),
    )
