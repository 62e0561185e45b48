"""Pillow's resize as integer arithmetic: against Pillow itself, and its weights against the published formulas."""

from collections.abc import Iterator
from math import ceil, pi, sin

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cxrzero.model import resample
from cxrzero.model.resample import BITS, SUPPORT, order_of_passes, taps

FILTERS = sorted(SUPPORT)
sides = st.one_of(st.integers(1, 12), st.integers(1, 260))


@settings(deadline=None)
@given(st.tuples(sides, sides), st.tuples(sides, sides), st.sampled_from(FILTERS), st.integers(0, 99), st.booleans())
def test_equals_pillow(
    source: tuple[int, int], target: tuple[int, int], interpolation: Image.Resampling, seed: int, is_black_white: bool
) -> None:
    _check(source, target, interpolation, seed, is_black_white)


@pytest.mark.parametrize("interpolation", FILTERS)
@pytest.mark.parametrize(
    ("source", "target"),
    [
        ((1024, 819), (320, 255)),  # CheXzero's of a film
        ((1023, 1), (320, 1)),  # a sliver, whose height comes first since Pillow 12.3
        ((1, 1023), (1, 320)),
        ((700, 300), (224, 224)),  # the height comes first since Pillow 13
        ((640, 640), (1, 1)),
        ((3, 2), (300, 500)),
        ((50, 60), (50, 61)),
    ],
)
def test_equals_pillow_at_odd_sizes(
    source: tuple[int, int], target: tuple[int, int], interpolation: Image.Resampling
) -> None:
    for is_black_white in (False, True):
        _check(source, target, interpolation, 1, is_black_white)


def _check(
    source: tuple[int, int], target: tuple[int, int], interpolation: Image.Resampling, seed: int, is_black_white: bool
) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, source, np.uint8)
    if is_black_white:  # where sums leave 0 to 255
        pixels = np.where(pixels > 127, 255, 0).astype(np.uint8)
    order = order_of_passes()
    assert order is not None
    expected = np.asarray(Image.fromarray(pixels).resize(target[::-1], interpolation))
    np.testing.assert_array_equal(resample.resize(pixels, target, interpolation, order), expected)


@pytest.mark.parametrize("interpolation", FILTERS)
@pytest.mark.parametrize(("source", "target"), [(1024, 320), (819, 255), (30, 77), (5, 1), (2, 9)])
def test_weights_are_those_of_the_formula(source: int, target: int, interpolation: Image.Resampling) -> None:
    found = taps(source, target, interpolation)
    shrink = max(1.0, source / target)
    stepped = source / target * 0.5  # as Pillow walks for "nearest"; where it is about to be whole, rounding decides
    for index in range(target):
        centre = (index + 0.5) * source / target
        if interpolation == Image.Resampling.NEAREST:
            weights = {int(stepped): 1.0}
            stepped += source / target
        else:
            reach = ceil(SUPPORT[interpolation] * shrink) + 1
            places = range(max(0, int(centre) - reach), min(source, int(centre) + reach + 1))
            weights = {place: _kernel(interpolation, (place - centre + 0.5) / shrink) for place in places}
        total = sum(weights.values())
        seen = dict(zip(found.places[index].tolist(), found.weights[index].tolist(), strict=True))
        assert min(seen) >= 0
        assert max(seen) < source
        for place in seen.keys() | weights.keys():
            # A pixel at the very end of the reach has next to no weight, and Pillow may leave it out.
            assert seen.get(place, 0) == pytest.approx(weights.get(place, 0.0) / total * 2**BITS, abs=1)


def _kernel(interpolation: Image.Resampling, x: float) -> float:
    x = abs(x)
    if interpolation == Image.Resampling.BILINEAR:
        return max(0.0, 1 - x)
    if interpolation == Image.Resampling.LANCZOS:
        return 0.0 if x >= 3 else 1.0 if x == 0 else sin(pi * x) / (pi * x) * sin(pi * x / 3) / (pi * x / 3)
    if x < 1:  # Keys' cubic convolution, a = −0.5
        return 1.5 * x**3 - 2.5 * x**2 + 1
    return -0.5 * (x**3 - 5 * x**2 + 8 * x - 4) if x < 2 else 0.0


@pytest.fixture
def _forgotten() -> Iterator[None]:
    """The order of passes is found again, and once more after the test."""
    order_of_passes.cache_clear()
    yield
    order_of_passes.cache_clear()


@pytest.mark.usefixtures("_forgotten")
@pytest.mark.parametrize("name", ["_width_first", "_height_first_of_slivers", "_height_first_if_it_loses_more"])
def test_order_of_passes_is_found_by_trial(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    order = getattr(resample, name)
    real = Image.Image.resize

    def resize(image: Image.Image, size: tuple[int, int], interpolation: Image.Resampling) -> Image.Image:
        """A Pillow with this order: one pass of the real one after the other."""
        if image.mode == "L":
            for axis in order(image.size[::-1], size[::-1]):
                image = real(image, (size[0], image.height) if axis == 1 else (image.width, size[1]), interpolation)
            return image
        return real(image, size, interpolation)

    monkeypatch.setattr(Image.Image, "resize", resize)
    assert order_of_passes() is order


@pytest.mark.usefixtures("_forgotten")
def test_a_pillow_that_rounds_otherwise_is_not_taken_for_this_arithmetic(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Image.Image.resize

    def resize(image: Image.Image, *args: object) -> Image.Image:
        made = real(image, *args)  # type: ignore[arg-type]
        return made.point(lambda grey: min(grey + 1, 255)) if image.mode == "L" else made

    monkeypatch.setattr(Image.Image, "resize", resize)
    assert order_of_passes() is None
