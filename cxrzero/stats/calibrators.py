"""Maps from a model's probability to a calibrated one, fitted by maximum likelihood on validation rows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from cxrzero.choices import CalibratorMethod
from cxrzero.errors import ConfigError
from cxrzero.maths import Bools, Floats, sigmoid

LOGIT_LIMIT = 36.0  # σ(36) is the last double below 1: logits of exact 0 and 1 are taken as ∓36
NEWTON_STEPS = 100


class Calibrator(Protocol):
    """A monotone map of [0, 1] to [0, 1] that can be written to JSON."""

    def __call__(self, probabilities: Floats) -> Floats: ...

    def as_dict(self) -> dict[str, Any]: ...


@dataclass(frozen=True, slots=True)
class LogitLine:
    """σ(slope · logit(p) + intercept): Platt scaling; with intercept 0, temperature scaling with T = 1 / slope."""

    method: str
    slope: float
    intercept: float

    def __call__(self, probabilities: Floats) -> Floats:
        return sigmoid(self.slope * logit(probabilities) + self.intercept)

    def as_dict(self) -> dict[str, Any]:
        parameters = {"slope": self.slope, "intercept": self.intercept}
        if self.method == "temperature":
            parameters["temperature"] = 1 / self.slope
        return {"method": self.method, **parameters}


@dataclass(frozen=True, slots=True)
class Isotonic:
    """Linear between (x, y) points, constant outside them; x and y non-decreasing."""

    x: tuple[float, ...]
    y: tuple[float, ...]

    def __call__(self, probabilities: Floats) -> Floats:
        return np.interp(probabilities, self.x, self.y)

    def as_dict(self) -> dict[str, Any]:
        return {"method": "isotonic", "x": list(self.x), "y": list(self.y)}


def fit_calibrator(probabilities: Floats, truth: Bools, method: CalibratorMethod) -> Calibrator | None:
    """Fit on (n,) probabilities and (n,) bool truth; None where one class is missing or no rising map fits.

    Platt and temperature use Platt's smoothed targets (N₊+1)/(N₊+2) and 1/(N₋+2), so that separable data do not send
    the slope to infinity (Platt 1999; Lin, Lin and Weng 2007). A slope of 0 or less would turn the order of the scores
    around: such a label has no evidence to be calibrated on.
    """
    if truth.all() or not truth.any():
        return None
    if method == "isotonic":
        return pool_adjacent_violators(probabilities, truth)
    n_positive = int(truth.sum())
    n_negative = len(truth) - n_positive
    targets = np.where(truth, (n_positive + 1) / (n_positive + 2), 1 / (n_negative + 2))
    slope, intercept = _logistic(logit(probabilities), targets, with_intercept=method == "platt")
    return LogitLine(method, slope, intercept) if slope > 0 else None


def pool_adjacent_violators(probabilities: Floats, truth: Bools) -> Isotonic:
    """Least-squares non-decreasing fit (Ayer et al. 1955), one point at each end of every pooled block."""
    x, place = np.unique(probabilities, return_inverse=True)
    weights = np.bincount(place).astype(np.float64)
    means = np.bincount(place, weights=truth) / weights
    blocks: list[tuple[float, float, int]] = []  # mean, weight, number of distinct x
    for mean, weight in zip(means.tolist(), weights.tolist(), strict=True):
        size = 1
        while blocks and blocks[-1][0] >= mean:
            last_mean, last_weight, last_size = blocks.pop()
            mean = (mean * weight + last_mean * last_weight) / (weight + last_weight)
            weight, size = weight + last_weight, size + last_size
        blocks.append((mean, weight, size))
    ends = np.cumsum([size for *_, size in blocks])
    starts = ends - np.array([size for *_, size in blocks])
    xs, ys = [], []
    for (mean, _, size), start, end in zip(blocks, starts, ends, strict=True):
        for edge in (start,) if size == 1 else (start, end - 1):
            xs.append(float(x[edge]))
            ys.append(mean)
    return Isotonic(tuple(xs), tuple(ys))


def calibrator_from_dict(record: dict[str, Any]) -> Calibrator:
    """The inverse of `as_dict`.

    Raises:
        ConfigError: unknown method or parameters that cannot be used.
    """
    try:
        if record["method"] == "isotonic":
            x, y = tuple(map(float, record["x"])), tuple(map(float, record["y"]))
            if not x or len(x) != len(y) or list(x) != sorted(x) or list(y) != sorted(y) or not _finite(*x, *y):
                raise ValueError("points are not rising")
            return Isotonic(x, y)
        if record["method"] in ("platt", "temperature"):
            slope, intercept = float(record["slope"]), float(record["intercept"])
            if not _finite(slope, intercept):
                raise ValueError("a parameter is no finite number")
            return LogitLine(record["method"], slope, intercept)
        raise ValueError(f"unknown method {record['method']!r}")
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"calibration file: a calibrator cannot be used: {error}") from None


def _finite(*numbers: float) -> bool:
    return all(map(math.isfinite, numbers))


def logit(probabilities: Floats) -> Floats:
    with np.errstate(divide="ignore"):
        unlimited = np.log(probabilities) - np.log1p(-probabilities)
    limited: Floats = np.clip(unlimited, -LOGIT_LIMIT, LOGIT_LIMIT)
    return limited


def _logistic(x: Floats, targets: Floats, *, with_intercept: bool) -> tuple[float, float]:
    """Slope and intercept of the logistic regression of targets on x, by damped Newton steps from the identity map."""
    design = np.stack([x, np.ones_like(x)], axis=1) if with_intercept else x[:, None]
    beta = np.array([1.0, 0.0])[: design.shape[1]]
    loss = _log_loss(design @ beta, targets)
    for _ in range(NEWTON_STEPS):
        fitted = sigmoid(design @ beta)
        gradient = design.T @ (fitted - targets)
        # The ridge only matters where all x are equal; relative to the curvature it is below the last digit.
        hessian = (design * (fitted * (1 - fitted))[:, None]).T @ design
        hessian += 1e-12 * (1 + np.trace(hessian)) * np.eye(len(beta))
        step = np.linalg.solve(hessian, gradient)
        size = 1.0
        while size > 1e-10 and _log_loss(design @ (beta - size * step), targets) > loss:
            size /= 2
        beta = beta - size * step
        new_loss = _log_loss(design @ beta, targets)
        if abs(loss - new_loss) <= 1e-14 * max(1.0, loss):
            break
        loss = new_loss
    return float(beta[0]), float(beta[1]) if with_intercept else 0.0


def _log_loss(logits: Floats, targets: Floats) -> float:
    return float(np.sum(np.logaddexp(0, logits) - targets * logits))
