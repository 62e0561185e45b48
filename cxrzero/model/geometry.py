"""Where the pixels of a picture go: the geometric steps of preprocessing, as moves that its size alone decides.

The rules stand here once, for whoever carries them out: Pillow below (OpenCV's resize: `cxrzero.model.area`), a GPU in
`cxrzero.backends.torch.fit`. `Stretch` is the one that leaves pixels where they are and goes by their grey; so no GPU
fits pictures whose bundle has it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
from PIL import Image

from cxrzero.errors import ImageError
from cxrzero.images.radiograph import GreyImage
from cxrzero.model.area import resize_area

Size = tuple[int, int]  # (height, width)

INTERPOLATIONS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
ROUNDINGS = ("floor", "nearest")  # of `stretch`

# Pixels of a side: 256 MB as a square. A strip of a picture may be much longer, and no radiograph is.
MAX_SQUARE = 2**14


@dataclass(frozen=True, slots=True)
class Resize:
    """The picture stretched to `size`."""

    size: Size
    interpolation: Image.Resampling

    def __call__(self, image: Image.Image) -> Image.Image:
        return image.resize(self.size[::-1], self.interpolation)

    def changes(self, size: Size) -> bool:
        return size != self.size


@dataclass(frozen=True, slots=True)
class AreaResize:
    """The picture stretched to `size` by OpenCV's INTER_AREA."""

    size: Size

    def __call__(self, image: Image.Image) -> Image.Image:
        return Image.fromarray(resize_area(np.asarray(image), self.size))

    def changes(self, size: Size) -> bool:
        return size != self.size


@dataclass(frozen=True, slots=True)
class Window:
    """A rectangle of `size` whose upper left corner is at (top, left) of the picture; beside it is `fill`."""

    size: Size
    top: int
    left: int
    fill: int

    def __call__(self, image: Image.Image) -> Image.Image:
        window = Image.new("L", self.size[::-1], self.fill)
        window.paste(image, (-self.left, -self.top))
        return window

    def changes(self, size: Size) -> bool:
        return (self.size, self.top, self.left) != (size, 0, 0)


@dataclass(frozen=True, slots=True)
class Stretch:
    """Grey from the darkest to the brightest pixel stretched over 0–255; a picture of one grey becomes black."""

    size: Size
    rounding: str

    def __call__(self, image: Image.Image) -> Image.Image:
        pixels = np.asarray(image)
        return Image.fromarray(stretched(int(pixels.min()), int(pixels.max()), self.rounding)[pixels])

    def changes(self, size: Size) -> bool:
        return True


Move = Resize | AreaResize | Window | Stretch
# Size of a picture → what becomes of it: one step of a bundle with its parameters.
Rule = Callable[[Size], Move]


class Geometry:
    """The geometric steps of one bundle; safe to call from several threads.

    Attributes:
        fitted_size: (height, width) of every result; None where that depends on the picture.
        is_pillows: every move is Pillow's, whose bits a device can give too.
        is_settled: a result that is fitted again stays as it is, so that it need not be known who fitted a picture.
    """

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rules = tuple(rules)
        self.fitted_size = _fixed_size(rules[-1]) if rules else None

    def __call__(self, pixels: GreyImage) -> GreyImage:
        """(H, W) uint8 → (h, w) uint8."""
        image = Image.fromarray(pixels)
        for move in self.plan(pixels.shape):
            image = move(image)
        return np.asarray(image)

    def plan(self, size: tuple[int, ...]) -> tuple[Move, ...]:
        """The moves of a picture of (height, width), without those that change nothing."""
        height, width = size
        moves = []
        for rule in self._rules:
            move = rule((height, width))
            if move.changes((height, width)):
                moves.append(move)
            height, width = move.size
        return tuple(moves)

    @property
    def is_pillows(self) -> bool:
        return not any(isinstance(rule((1, 1)), AreaResize) for rule in self._rules)

    @property
    def is_settled(self) -> bool:
        return self.fitted_size is not None and not self.plan(self.fitted_size)


def resize(picture: Size, height: int, width: int, interpolation: str) -> Resize:
    return Resize((height, width), INTERPOLATIONS[interpolation])


def resize_shortest(picture: Size, size: int, interpolation: str) -> Resize:
    height, width = picture
    target = (int(size * height / width), size) if width <= height else (size, int(size * width / height))
    return Resize(target, INTERPOLATIONS[interpolation])


def resize_longest(picture: Size, size: int, interpolation: str) -> Resize:
    ratio = size / max(picture)
    # A sliver of a picture keeps at least one pixel, where the reference would fail.
    height, width = (max(1, int(side * ratio)) for side in picture)
    return Resize((height, width), INTERPOLATIONS[interpolation])


def resize_longest_area(picture: Size, size: int) -> AreaResize:
    # The ratio is rounded before it is multiplied, as CARZero's `_resize_img` does; a sliver keeps one pixel.
    height, width = picture
    target = (size, int(width * (size / height))) if height >= width else (int(height * (size / width)), size)
    return AreaResize((max(1, target[0]), max(1, target[1])))


def center_crop(picture: Size, height: int, width: int) -> Window:
    return Window((height, width), round((picture[0] - height) / 2.0), round((picture[1] - width) / 2.0), 0)


def pad_to_square(picture: Size, size: int, fill: int) -> Window:
    return Window((size, size), -((size - picture[0]) // 2), -((size - picture[1]) // 2), fill)


def expand_to_square(picture: Size, minimum: int, fill: int) -> Window:
    side = max(minimum, *picture)
    if side > MAX_SQUARE:
        raise ImageError("too_many_pixels", f"a square around it would be of {side} × {side} pixels")
    return pad_to_square(picture, side, fill)


def stretch(picture: Size, rounding: str) -> Stretch:
    if rounding not in ROUNDINGS:
        raise ValueError(f"stretch: rounding must be one of {', '.join(ROUNDINGS)}")
    return Stretch(picture, rounding)


def stretched(darkest: int, brightest: int, rounding: str) -> npt.NDArray[np.uint8]:
    """(256,) uint8: what becomes of each grey level.

    Args:
        rounding: "floor" is down, as hi-ml's `remap_to_uint8` (float64); "nearest" is OpenCV's
            normalize(…, 0, 255, NORM_MINMAX, CV_8U): float32, multiplied and added at once (AVX2), half to even.
    """
    levels = np.clip(np.arange(256, dtype=np.float64), darkest, brightest)
    if rounding == "floor":
        return np.asarray((levels - darkest) / max(1, brightest - darkest) * 255, np.uint8)
    scale = 255 * (1 / (brightest - darkest)) if brightest > darkest else 0.0
    fused = (levels * np.float32(scale) + np.float32(-darkest * scale)).astype(np.float32)
    return np.asarray(np.clip(np.rint(fused), 0, 255), np.uint8)


STEPS: dict[str, Callable[..., Move]] = {
    "stretch": stretch,
    "resize": resize,
    "resize_shortest": resize_shortest,
    "resize_longest": resize_longest,
    "resize_longest_area": resize_longest_area,
    "center_crop": center_crop,
    "pad_to_square": pad_to_square,
    "expand_to_square": expand_to_square,
}
# What they make of a picture depends on its size.
FREE = (stretch, resize_shortest, resize_longest, resize_longest_area, expand_to_square)


def _fixed_size(rule: Rule) -> Size | None:
    """What a rule makes of every picture, (height, width); None where that depends on the picture."""
    is_free = isinstance(rule, partial) and rule.func in FREE
    return None if is_free else rule((1, 1)).size
