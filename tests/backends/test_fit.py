"""The geometry of preprocessing by torch, against Pillow's, to the last bit."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxrzero.clip.steps import chexzero_steps, clip_steps
from cxrzero.model import resample
from cxrzero.model.geometry import STEPS, Geometry
from cxrzero.model.resample import fits_on_device
from tests.support.needs import modules
from tests.support.pictures import picture

modules("torch")
from cxrzero.backends.torch import fit  # noqa: E402
from cxrzero.backends.torch.fit import Fitter  # noqa: E402

Steps = list[dict[str, Any]]


def _geometry(steps: Steps) -> Geometry:
    names = [step["step"] for step in steps if step["step"] in STEPS]
    return Geometry([partial(STEPS[name], **_parameters(step)) for name, step in zip(names, steps, strict=False)])


def _parameters(step: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in step.items() if key != "step"}


CHEXZERO, CLIP = _geometry(chexzero_steps(224)), _geometry(clip_steps(224))
MINI = _geometry([{"step": "resize", "height": 96, "width": 96, "interpolation": "bicubic"}])
NEAREST = _geometry([{"step": "resize", "height": 90, "width": 70, "interpolation": "nearest"}])
# Filled with grey and cut, where a picture does not fill the window or stands over it.
FILLED = _geometry(
    [
        {"step": "resize_longest", "size": 61, "interpolation": "bilinear"},
        {"step": "center_crop", "height": 50, "width": 70},
        {"step": "pad_to_square", "size": 64, "fill": 128},
    ]
)
CROPPED = _geometry(
    [{"step": "pad_to_square", "size": 33, "fill": 300}, {"step": "center_crop", "height": 8, "width": 7}]
)
SQUARED = _geometry(
    [
        {"step": "expand_to_square", "minimum": 64, "fill": 0},
        {"step": "resize", "height": 64, "width": 64, "interpolation": "bilinear"},
    ]
)
EVERY = {
    "squared": SQUARED,
    "chexzero": CHEXZERO,
    "clip": CLIP,
    "mini": MINI,
    "nearest": NEAREST,
    "filled": FILLED,
    "cropped": CROPPED,
}

sides = st.one_of(st.integers(1, 12), st.integers(1, 200))


@pytest.mark.parametrize("name", EVERY)
@settings(deadline=None, max_examples=40)
@given(size=st.tuples(sides, sides))
def test_equals_pillow(name: str, size: tuple[int, int]) -> None:
    pixels = picture(sum(size), size)
    fitted = Fitter(EVERY[name], "cpu")([pixels])
    np.testing.assert_array_equal(fitted[0].numpy(), EVERY[name](pixels))


@pytest.mark.parametrize("name", EVERY)
def test_films_of_all_sizes_come_in_their_order(name: str) -> None:
    sizes = [(512, 420), (420, 512), (320, 320), (512, 420), (401, 90), (224, 224), (512, 420), (50, 60)]
    films = [picture(seed, size) for seed, size in enumerate(sizes)]
    fitted = Fitter(EVERY[name], "cpu")(films)
    assert fitted.shape == (len(films), *(EVERY[name].fitted_size or ()))
    np.testing.assert_array_equal(fitted.numpy(), np.stack([EVERY[name](film) for film in films]))


def test_films_are_taken_together_as_memory_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    films = [picture(seed, (40, 30)) for seed in range(5)] + [picture(9, (400, 300))]
    taken = []
    real = Fitter._resize
    monkeypatch.setattr(
        Fitter, "_resize", lambda self, pixels, move: taken.append(pixels.shape) or real(self, pixels, move)
    )
    monkeypatch.setattr(fit, "MOST_PIXELS", 2 * 96 * 96 + 1)
    fitted = Fitter(MINI, "cpu")(films)
    # 96 × 96 is the largest of the passes of a small film. The large film is left to Pillow.
    assert taken == [(2, 40, 30), (2, 40, 30), (1, 40, 30)]
    np.testing.assert_array_equal(fitted.numpy(), np.stack([MINI(film) for film in films]))


def test_taps_are_kept_for_the_next_film() -> None:
    fitter = Fitter(MINI, "cpu")
    for seed in range(3):
        fitter([picture(seed, (40, 30))])
    assert fitter._taps.cache_info().misses == 2  # one of each axis


def test_a_geometry_that_would_change_fitted_films_is_left_to_the_decoders() -> None:
    assert all(fits_on_device(geometry) for geometry in (CHEXZERO, CLIP, MINI, NEAREST))
    twice = _geometry(
        [
            {"step": "resize_shortest", "size": 256, "interpolation": "bicubic"},
            {"step": "center_crop", "height": 224, "width": 224},
        ]
    )
    squeeze = {"step": "resize", "height": 32, "width": 32, "interpolation": "bilinear"}
    assert twice.fitted_size == (224, 224)
    assert not fits_on_device(twice)
    assert not fits_on_device(_geometry([{"step": "stretch", "rounding": "floor"}, squeeze]))
    area = [{"step": "resize_longest_area", "size": 64}, {"step": "pad_to_square", "size": 64, "fill": 0}]
    assert _geometry(area).is_settled
    assert not fits_on_device(_geometry(area))
    assert not fits_on_device(_geometry([{"step": "resize_longest", "size": 320, "interpolation": "lanczos"}]))


def test_a_pillow_of_other_arithmetic_leaves_all_to_the_decoders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resample, "order_of_passes", lambda: None)
    assert not fits_on_device(CHEXZERO)
