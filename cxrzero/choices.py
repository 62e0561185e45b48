"""The words that options take, each said once. Imports nothing of the package."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

Device = Literal["auto", "cpu", "cuda"]
Backend = Literal["auto", "onnxruntime", "openvino", "torch"]
Precision = Literal["fp32", "fp16", "bf16", "int8", "auto"]
DecodeIn = Literal["auto", "threads", "processes"]
Invert = Literal["auto", "yes", "no"]
View = Literal["frontal"]
TableFormat = Literal["csv", "jsonl", "parquet"]

# Of a prediction table: a row per image, or a second table with a row per study.
Level = Literal["image", "study"]
Aggregate = Literal["mean", "max"]

# Of reference labels: what a row is, what −1 and a blank cell count as.
LabelLevel = Literal["auto", "image", "study"]
AggregateLabels = Literal["any", "majority", "mean"]
Uncertain = Literal["ignore", "positive", "negative"]
Blank = Literal["auto", "ignore", "negative"]
ThresholdRule = Literal["max_mcc", "youden", "sensitivity"]
CalibratorMethod = Literal["platt", "temperature", "isotonic"]

# Of training.
PairsLayout = Literal["auto", "table", "folder", "mimic", "openi"]
TextRule = Literal["sentences", "section", "chexzero"]
Recipe = Literal["default", "chexzero"]
Loss = Literal["soft", "sigmoid", "clip"]
Optimiser = Literal["adamw", "sgd"]
Schedule = Literal["cosine", "constant"]
TowerName = Literal["image", "text"]
TrainPrecision = Literal["fp32", "bf16"]

# The model in the box.
DEFAULT_MODEL = "cxrzero-mini"

# How a library call tells its user what it is about to do, such as the import of a checkpoint.
Notify = Callable[[str], None]


def silent(notice: str) -> None:
    """Tells nobody."""
