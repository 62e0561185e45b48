"""Regions of boxes, baselines and cut-offs against values by hand, and against films drawn pixel by pixel."""

from __future__ import annotations

import numpy as np
import pytest

from cxrzero.maths import Bools, Floats
from cxrzero.stats.intervals import all_alike
from cxrzero.stats.localisation import (
    best_point_hit_rate,
    centre_hits,
    cutoffs_left_out,
    fixed_point_hits,
    mean_box_hits,
    mean_box_ious,
    mean_boxes,
)
from cxrzero.stats.regions import CUTOFFS, area, coverage, disjoint, inside, iou, ious_above
from cxrzero.stats.resample import Resampling, resampled_means

SIDE = 40  # pixels of a drawn film


def boxes(*each: tuple[float, float, float, float]) -> Floats:
    return np.array(each, np.float64)


def random_boxes(rng: np.random.Generator, most: int = 5) -> Floats:
    """Boxes whose edges lie between pixels of a drawn film, so that drawing them is exact."""
    ends = np.sort(rng.integers(0, SIDE + 1, (rng.integers(1, most + 1), 2, 2)), axis=2)
    ends[:, :, 1] += ends[:, :, 0] == ends[:, :, 1]
    ends -= (ends[:, :, 1] > SIDE)[..., None]
    return np.stack([ends[:, 0, 0], ends[:, 1, 0], ends[:, 0, 1], ends[:, 1, 1]], axis=1) / SIDE


def drawn(region: Floats) -> Bools:
    film = np.zeros((SIDE, SIDE), bool)
    for left, upper, right, lower in np.rint(region * SIDE).astype(int):
        film[upper:lower, left:right] = True
    return film


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(3)


def test_a_box_holds_its_left_and_upper_edge() -> None:
    region = boxes((0.25, 0.5, 0.5, 0.75), (0.8, 0.8, 0.9, 0.9))
    x, y = np.array([0.25, 0.5, 0.3, 0.3, 0.85, 0.0]), np.array([0.5, 0.5, 0.74, 0.75, 0.85, 0.0])
    assert inside(region, x, y).tolist() == [True, False, True, False, True, False]


def test_several_boxes_are_one_region() -> None:
    # Two of 0.4 × 0.5 that share 0.2 × 0.5, the one inside the other's rows: 0.2 + 0.2 − 0.1.
    assert area(boxes((0.1, 0.2, 0.5, 0.7), (0.3, 0.2, 0.7, 0.7))) == pytest.approx(0.3)
    assert area(boxes((0.0, 0.0, 1.0, 1.0), (0.2, 0.2, 0.4, 0.4))) == pytest.approx(1.0)
    assert len(disjoint(boxes((0.1, 0.2, 0.5, 0.7), (0.1, 0.2, 0.5, 0.7)))) == 1


def test_regions_are_those_that_are_drawn(rng: np.random.Generator) -> None:
    points = (np.arange(SIDE) + 0.5) / SIDE
    for _ in range(50):
        one, other = random_boxes(rng), random_boxes(rng)
        first, second = drawn(one), drawn(other)
        assert area(one) == pytest.approx(first.mean())
        assert (inside(one, points[None, :], points[:, None]) == first).all()
        assert coverage(one, SIDE, SIDE) == pytest.approx(first.astype(float))
        # Of coarser cells, not square ones, each the mean of its pixels.
        assert coverage(one, 8, 20) == pytest.approx(first.reshape(8, 5, 20, 2).mean(axis=(1, 3)))
        assert iou(one, other) == pytest.approx((first & second).sum() / (first | second).sum())


def test_half_a_cell_counts_half() -> None:
    assert coverage(boxes((0.25, 0.0, 1.0, 0.5)), 2, 2).tolist() == [[0.5, 1.0], [0.0, 0.0]]


def test_iou_above_a_cutoff_by_hand() -> None:
    found = np.array([[0.0, 1.0], [3.0, 4.0]], np.float32)
    lower_half = boxes((0.0, 0.5, 1.0, 1.0))
    # Parts of the way up: 0, 1/4, 3/4, 1. At or above 0.25 are three cells, above 0.5 two, above 0.9 one.
    values = ious_above(found, lower_half, np.array([0.25, 0.5, 0.9]))
    assert values == pytest.approx([2 / 3, 1.0, 1 / 2])
    assert ious_above(found - 100, lower_half, np.array([0.25, 0.5, 0.9])) == pytest.approx(values)


def test_iou_above_cutoffs_is_that_of_drawn_masks(rng: np.random.Generator) -> None:
    for _ in range(20):
        region, found = random_boxes(rng), rng.normal(size=(SIDE, SIDE)).astype(np.float32)
        truth, scaled = drawn(region), (found - found.min()).astype(np.float64) / (float(found.max()) - found.min())
        by_hand = [((scaled >= c) & truth).sum() / ((scaled >= c) | truth).sum() for c in CUTOFFS]
        assert ious_above(found, region) == pytest.approx(by_hand)


def test_a_flat_map_agrees_with_nothing() -> None:
    assert ious_above(np.full((4, 4), 0.3, np.float32), boxes((0, 0, 1, 1))).tolist() == [0.0] * len(CUTOFFS)


def test_the_centre() -> None:
    regions = [boxes((0.4, 0.4, 0.6, 0.6)), boxes((0.6, 0.4, 0.9, 0.6)), boxes((0, 0, 0.1, 0.1), (0.5, 0.5, 1, 1))]
    assert centre_hits(regions).tolist() == [1, 0, 1]


def test_the_best_fixed_point_does_not_know_its_own_film() -> None:
    left, right = boxes((0.0, 0.0, 0.5, 1.0)), boxes((0.5, 0.0, 1.0, 1.0))
    # For a left film the others are one left and two right ones: right, a miss. For a right film the mirror image.
    assert fixed_point_hits([left, left, right, right]).tolist() == [0, 0, 0, 0]
    # For each of three left films the others are 2 to 1 for left; for the right film 3 to 0.
    assert fixed_point_hits([left, left, left, right]).tolist() == [1, 1, 1, 0]


def test_no_single_point_hits_more_than_the_best_of_all() -> None:
    left, right = boxes((0.0, 0.0, 0.5, 1.0)), boxes((0.5, 0.0, 1.0, 1.0))
    assert best_point_hit_rate([left, right, right]) == 2 / 3
    assert best_point_hit_rate([left, right, boxes((0.4, 0.1, 0.6, 0.2)), boxes((0.0, 0.0, 0.1, 0.1))]) == 0.5


def test_equally_good_points_each_count_their_part() -> None:
    # One other film: all its points are equally good, half of which are in this film's region.
    assert fixed_point_hits([boxes((0, 0, 0.5, 1)), boxes((0.25, 0, 0.75, 1))]) == pytest.approx([0.5, 0.5])
    # None: a point anywhere.
    assert fixed_point_hits([boxes((0, 0, 0.5, 0.5))]) == pytest.approx([0.25])


def test_the_best_fixed_point_by_brute_force(rng: np.random.Generator) -> None:
    regions = [random_boxes(rng, 2) for _ in range(12)]
    films = np.array([drawn(region) for region in regions])
    for place, film in enumerate(films):
        others = np.delete(films, place, axis=0).sum(axis=0)
        # 256 points over 40 pixels: pixels have 6 or 7 of them a side, so a part may differ by a little.
        assert fixed_point_hits(regions)[place] == pytest.approx(film[others == others.max()].mean(), abs=0.03)


def test_the_mean_box_of_the_others() -> None:
    regions = [boxes((0, 0, 0.2, 0.2)), boxes((0.2, 0.4, 0.6, 0.8)), boxes((0, 0, 0.2, 0.2), (0.4, 0, 0.6, 0.6))]
    # The third film counts once, with the mean of its two boxes: (0.2, 0, 0.4, 0.4).
    assert mean_boxes(regions) == pytest.approx(boxes((0.2, 0.2, 0.5, 0.6), (0.1, 0.0, 0.3, 0.3), (0.1, 0.2, 0.4, 0.5)))
    # Its centres: (0.35, 0.4) is not in the first, (0.2, 0.15) not in the second, (0.25, 0.35) not in the third.
    assert mean_box_hits(regions).tolist() == [0, 0, 0]
    # The second: no overlap. The third: (0.1..0.2) × 0 and (0.4) × 0.3 touch nothing but (0.4, …): an edge, no area.
    assert mean_box_ious(regions) == pytest.approx([0, 0, 0])
    alike = [boxes((0.2, 0.2, 0.4, 0.4)), boxes((0.3, 0.2, 0.5, 0.4))]
    assert mean_box_ious(alike) == pytest.approx([1 / 3, 1 / 3])
    assert mean_box_hits(alike).tolist() == [0, 1]  # the centre (0.4, 0.3) is behind the first's right edge


def test_a_film_alone_has_no_mean_box() -> None:
    alone = [boxes((0, 0, 0.5, 0.5))]
    assert np.isnan(mean_boxes(alone)).all()
    assert np.isnan(mean_box_hits(alone)).all()
    assert np.isnan(mean_box_ious(alone)).all()


def test_the_cutoff_is_chosen_without_the_patient() -> None:
    ious = np.array([[0.9, 0.1, 0.0], [0.0, 0.1, 0.8], [0.1, 0.2, 0.1], [0.3, 0.5, 0.1]])
    # Patients 7, 7, 2, 5. Without 7: 0.4, 0.7, 0.2 → 1. Without 2: 1.2, 0.7, 0.9 → 0. Without 5: 1.0, 0.4, 0.9 → 0.
    assert cutoffs_left_out(ious, np.array([7, 7, 2, 5])).tolist() == [1, 1, 0, 0]
    assert cutoffs_left_out(ious, np.array([1, 1, 1, 1])).tolist() == [-1, -1, -1, -1]


def test_resampled_means_draw_patients_and_pair_columns() -> None:
    values = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    means = resampled_means(values, np.array([4, 4, 9]), Resampling(4000, 1))
    # Two patients, two draws: both the first (1/4), both the second (1/4), or one each (1/2, then 2 of 3 rows).
    kinds, counts = np.unique(means.round(6), axis=0, return_counts=True)
    assert kinds == pytest.approx(np.array([[0, 1], [2 / 3, 1 / 3], [1, 0]]), abs=1e-6)
    assert counts / 4000 == pytest.approx([0.25, 0.5, 0.25], abs=0.03)
    assert resampled_means(values, np.array([0, 1, 2]), Resampling(0, 1)).shape == (0, 2)


def test_values_that_are_all_alike_have_an_interval_all_the_same() -> None:
    # Wilson's interval of 10 of 10 is n / (n + z²) = 10 / 13.8415 to 1.
    share = 10 / (10 + 1.959963985**2)
    hits = all_alike(1.0, 10, 0.95, 0.0, 1.0)
    assert (hits.low, hits.high) == pytest.approx((share, 1.0))
    gain = all_alike(0.0, 10, 0.95, -1.0, 1.0)
    assert (gain.low, gain.high) == pytest.approx((share - 1, 1 - share))
    assert np.isnan(all_alike(1.0, 0, 0.95, 0.0, 1.0).low)
