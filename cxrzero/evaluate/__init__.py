"""Evaluation of prediction tables: metrics with intervals, thresholds, calibration, readers, comparisons, subgroups."""

from __future__ import annotations

from cxrzero.evaluate.config import EvalConfig
from cxrzero.evaluate.run import Evaluation, evaluate

__all__ = ["EvalConfig", "Evaluation", "evaluate"]
