"""What model.json's `location` says of a map: validated, not validated, or never measured."""

from __future__ import annotations

from typing import Any

import pytest

from cxrzero.prompts.location import better_method, location_validated, mean_gains, read_location


def entry(label: str, method: str, gain: float, low: float | None, **more: Any) -> dict[str, Any]:
    made = {"label": label, "method": method, "dataset": "boxes", "films": 30, "unit": "patient", "units": 28}
    interval = {"value": gain, "low": low, "high": 0.9}
    return made | {"hit_rate": {"value": 0.5}, "gain": interval, "best_point": 0.4, "seen_in_training": False} | more


FIELD = [
    entry("pleural effusion", "patch", 0.30, 0.10),
    entry("mass", "patch", 0.10, -0.05),
    entry("pleural effusion", "occlusion", 0.32, 0.12),
    entry("mass", "occlusion", 0.20, 0.01),
    entry("hernia", "patch", 0.9, 0.8),
]


def test_a_finding_is_validated_for_the_method_whose_interval_lies_above_0() -> None:
    assert location_validated(FIELD, "mass", "patch") is False
    assert location_validated(FIELD, "mass", "occlusion") is True
    assert location_validated(FIELD, "nodule", "patch") is None
    assert location_validated(FIELD, "hernia", "occlusion") is None


def test_other_names_of_a_finding_are_the_same_finding() -> None:
    assert location_validated(FIELD, "Pleural_Effusion", "patch") is True
    assert location_validated([entry("pleural effusion", "patch", 0.3, 0.1)], "effusion", "patch") is True


def test_without_a_method_that_of_auto_is_meant() -> None:
    # By hand, over effusion and mass, which both were measured on: (0.30 + 0.10) / 2 and (0.32 + 0.20) / 2.
    assert mean_gains(FIELD) == pytest.approx({"patch": 0.20, "occlusion": 0.26})
    assert better_method(FIELD) == "occlusion"
    assert location_validated(FIELD, "mass") is True
    assert location_validated(FIELD, "hernia") is None


def test_of_several_measurements_that_with_most_films_decides() -> None:
    more = [*FIELD, entry("mass", "patch", 0.5, 0.4, films=31), entry("mass", "patch", 0.0, -0.2, films=5)]
    assert location_validated(more, "mass", "patch") is True


@pytest.mark.parametrize(
    "unusable",
    [
        None,
        [],
        "location",
        {"mass": True},
        [None, 3, {"label": "mass"}],
        [entry("mass", "patch", float("nan"), 0.1)],
        [entry("mass", "patch", 0.3, 0.1, units="28")],
        [entry("mass", "patch", 0.3, 0.1, best_point=None)],
        [entry("mass", "patch", 0.3, 0.1, seen_in_training=True)],
        [entry("mass", "patch", 0.3, 0.1, seen_in_training=None)],
        [{k: v for k, v in entry("mass", "patch", 0.3, 0.1).items() if k != "seen_in_training"}],
    ],
)
def test_what_is_no_entry_says_nothing(unusable: Any) -> None:
    assert read_location(unusable) == []
    assert location_validated(unusable, "mass", "patch") is None
    assert better_method(unusable) is None


@pytest.mark.parametrize("few", [{"units": 9}, {"gain": {"value": 1.0, "low": None}}, {"gain": {"value": 1.0}}])
def test_too_few_patients_or_no_interval_is_no_evidence(few: dict[str, Any]) -> None:
    assert location_validated([entry("mass", "patch", 1.0, 0.7)], "mass", "patch") is True
    assert location_validated([entry("mass", "patch", 1.0, 0.7) | few], "mass", "patch") is False


def test_a_map_that_one_place_would_match_is_not_validated() -> None:
    assert location_validated([entry("mass", "patch", 1.0, 0.7, best_point=0.49)], "mass", "patch") is True
    assert location_validated([entry("mass", "patch", 1.0, 0.7, best_point=0.5)], "mass", "patch") is False


def test_methods_measured_on_other_findings_are_not_compared() -> None:
    apart = [entry("mass", "patch", 0.1, 0.0), entry("nodule", "occlusion", 0.9, 0.5)]
    assert mean_gains(apart) == {}
    assert better_method(apart) is None


def test_it_is_said_in_words() -> None:
    (first, *_) = read_location(FIELD)
    assert str(first) == (
        "validated: patch hits 0.50 of 30 films, the best fixed point of other films 0.20, any one point 0.40 at most; "
        "boxes"
    )
