"""Whether a model's maps were measured to point at what they should, as its own model.json states in `location`.

Each entry is one finding, by one method, on one set of boxed films (docs/models.md#location):

    {"label": "pleural effusion", "method": "patch", "dataset": "…", "films": 32, "unit": "patient", "units": 30,
     "hit_rate": {"value": 0.63, "low": 0.45, "high": 0.79},
     "gain": {"value": 0.31, "low": 0.09, "high": 0.50},    hit rate minus that of the best fixed point, paired
     "best_point": 0.41,                                    what a map that always points to one place can hit at most
     "seen_in_training": false, …}

A finding is validated where its map beats the best fixed point: where the interval of `gain` lies above 0, on enough
patients. The fixed point of `gain` is chosen without the film, which makes it weak where two places are about as good:
so the hit rate must also be above that of every single point. The same rule decides in `cxrzero eval --boxes`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from cxrzero.prompts.measured import finding_key

FEWEST_UNITS = 10  # patients below which an interval covers less than it says, and nothing is judged


def beats_fixed_point(hit_rate: float, best_point: float, gain_low: float | None, units: int) -> bool:
    """Whether maps point better than any fixed point.

    Args:
        best_point: hit rate of the best of all points, chosen with every film.
        gain_low: lower end of the interval of the gain over the one chosen without the film; None or NaN without one.
    """
    return gain_low is not None and gain_low > 0 and hit_rate > best_point and units >= FEWEST_UNITS


@dataclass(frozen=True, slots=True)
class Located:
    """One entry.

    Attributes:
        films, units: boxed films with the finding that it was measured on, and how many patients (or what else is
            independent) they are of.
        hit_rate: share of films where the peak of the map is inside the finding's boxes.
        gain: hit rate minus that of the best fixed point; `gain_low` is its interval's lower end, None without one.
        best_point: see `beats_fixed_point`.
    """

    label: str
    method: str
    dataset: str
    films: int
    units: int
    hit_rate: float
    gain: float
    gain_low: float | None
    best_point: float

    @property
    def is_validated(self) -> bool:
        return beats_fixed_point(self.hit_rate, self.best_point, self.gain_low, self.units)

    def __str__(self) -> str:
        return (
            f"{'validated' if self.is_validated else 'not validated'}: {self.method} hits {self.hit_rate:.2f} of "
            f"{self.films} films, the best fixed point of other films {self.hit_rate - self.gain:.2f}, any one point "
            f"{self.best_point:.2f} at most; {self.dataset}"
        )


def read_location(field: Any) -> list[Located]:
    """The entries of model.json's `location`.

    What is no entry as this package writes them says nothing, nor does one on films that were trained on.
    """
    return [entry for each in (field if isinstance(field, list) else ()) if (entry := _entry(each)) is not None]


def location_validated(field: Any, label: str, method: str | None = None) -> bool | None:
    """Whether a map of a finding was measured to beat the best fixed point; None where nobody measured it.

    Of several entries that with the most films decides.

    Args:
        field: `location` of model.json, None where it has none.
        label: under any name that the built-in bank has for the finding.
        method: that made the map; None takes that of `better_method`.
    """
    entries, method = read_location(field), method or better_method(field)
    found = [each for each in entries if each.method == method and finding_key(each.label) == finding_key(label)]
    return max(found, key=lambda each: each.films).is_validated if found else None


def mean_gains(field: Any) -> dict[str, float]:
    """Method → its mean gain over the best fixed point, over the findings that every method here was measured on.

    Empty where no finding was measured with all of them, so that nothing compares them.
    """
    gains: dict[str, dict[str, float]] = {}
    for entry in sorted(read_location(field), key=lambda each: each.films):  # of several, that with most films stays
        gains.setdefault(entry.method, {})[finding_key(entry.label)] = entry.gain
    shared = set.intersection(*map(set, gains.values())) if gains else set()
    return {method: fmean(found[key] for key in sorted(shared)) for method, found in gains.items()} if shared else {}


def better_method(field: Any) -> str | None:
    """The method with the larger mean gain (of equals the first); None where nothing was measured, or compared."""
    gains = mean_gains(field)
    return max(gains, key=lambda method: gains[method]) if gains else None


def _entry(value: Any) -> Located | None:
    if not isinstance(value, Mapping) or value.get("seen_in_training") is not False:
        return None
    label, method, films, units = (value.get(key) for key in ("label", "method", "films", "units"))
    hit_rate, best_point = _number(value, "hit_rate", "value"), _number(value, "best_point")
    gain, low = _number(value, "gain", "value"), _number(value, "gain", "low")
    if not (isinstance(label, str) and isinstance(method, str) and type(films) is int and type(units) is int):
        return None
    if hit_rate is None or gain is None or best_point is None:
        return None
    dataset = str(value.get("dataset") or "data set not stated")
    return Located(label, method, dataset, films, units, hit_rate, gain, low, best_point)


def _number(value: Any, *keys: str) -> float | None:
    """What lies under these keys, if it is a finite number."""
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        return None
    return float(value)
