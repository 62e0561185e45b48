"""The picture of a map: readable in grey and without red or green, with its scale, its label and what must be known."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from cxrzero.heatmap.colours import colours
from cxrzero.heatmap.overlay import LEAST_WIDTH, NOT_FOUND, SIDE, UNVALIDATED, overlay

# Viénot, Brettel & Mollon 1999: what is left of linear RGB to who lacks the long-wave (protan) or the middle-wave
# (deutan) cones.
PROTAN = np.array([[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]])
DEUTAN = np.array([[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]])


def linear() -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    shown = colours() / 255
    return np.where(shown <= 0.04045, shown / 12.92, ((shown + 0.055) / 1.055) ** 2.4)


def test_a_grey_copy_keeps_the_order() -> None:
    luma = np.asarray(Image.fromarray(colours()[None]).convert("L"))[0].astype(int)
    assert (np.diff(luma) >= 0).all()
    assert luma[-1] - luma[0] > 180


@pytest.mark.parametrize("sight", [PROTAN, DEUTAN])
def test_who_sees_no_red_or_no_green_sees_all_steps(sight: np.ndarray) -> None:
    seen = linear() @ sight.T
    light = seen @ np.array([0.2126, 0.7152, 0.0722])
    assert (np.diff(light[::8]) > 0).all()
    assert light[0] < 0.05
    assert light[-1] > 0.7


def test_colour_lies_where_the_map_is_high() -> None:
    found = np.zeros((8, 8), np.float32)
    found[1, 6] = 1
    grey = np.full((400, 200), 100, np.uint8)
    picture = np.asarray(overlay(grey, found, "mass", 0.7))
    left = (LEAST_WIDTH - SIDE // 2) // 2
    film = picture[:SIDE, left : left + SIDE // 2].astype(int)
    tinted = film[..., 0] - film[..., 2] > 60  # yellow
    rows, columns = np.nonzero(tinted)
    assert rows.mean() == pytest.approx(1.5 / 8 * SIDE, abs=20)
    assert columns.mean() == pytest.approx(6.5 / 8 * SIDE / 2, abs=20)
    assert (film[SIDE // 2 :] == 100).all()  # elsewhere the film is as it was


def test_below_stand_the_scale_and_what_must_be_known() -> None:
    found = np.random.default_rng(0).normal(size=(7, 7)).astype(np.float32)
    grey = np.zeros((100, 120), np.uint8)
    plain = overlay(grey, found, "mass", 0.7)
    noted = overlay(grey, found, "mass", 0.7, [NOT_FOUND, UNVALIDATED])
    assert plain.width == noted.width == SIDE
    assert noted.height > plain.height
    film = round(SIDE * 100 / 120)
    scale = np.asarray(plain)[film + 20, 20:-20]
    np.testing.assert_array_equal(scale[0], colours()[round(8 / 775 * 255)])
    assert len(np.unique(scale, axis=0)) > 200
    assert np.asarray(noted)[film + 80 :].max() > 200
    other = overlay(grey, found, "mass", 0.1)
    assert np.asarray(plain)[:film].tolist() == np.asarray(other)[:film].tolist()
    assert np.asarray(plain).tolist() != np.asarray(other).tolist()  # the number is in the picture


@pytest.mark.parametrize("shape", [(1, 1), (64, 64), (3000, 40), (40, 3000)])
@pytest.mark.parametrize("label", ["x" * 300, "肺炎 \x1b[2J\u202e\n<script>", "two words"])
def test_any_film_and_any_label(shape: tuple[int, int], label: str) -> None:
    picture = overlay(np.full(shape, 7, np.uint8), np.zeros((2, 3), np.float32), label, 0.5, [UNVALIDATED])
    assert picture.mode == "RGB"
    assert max(picture.width, SIDE) == SIDE
