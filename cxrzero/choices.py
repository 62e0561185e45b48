"""The words that options take, each said once. Imports nothing of the package but its errors."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Literal

from cxrzero.errors import UsageError

Device = str  # read by `parse_device`
DEVICES = "auto|cpu|cuda|cuda:N"
Backend = Literal["auto", "onnxruntime", "openvino", "torch"]
Precision = Literal["fp32", "fp16", "bf16", "int8", "auto"]
DecodeIn = Literal["auto", "threads", "processes"]
CacheBy = Literal["path", "content"]
Invert = Literal["auto", "yes", "no"]
View = Literal["frontal"]
ENGINES = "local[=N]|ray[=ADDRESS]|slurm[=OPTIONS]"  # read by `parse_engine`
TableFormat = Literal["csv", "jsonl", "parquet"]

# Of heatmaps.
MapMethod = Literal["auto", "patch", "attention", "occlusion"]
MapFormat = Literal["png", "npz", "both"]

# Of a prediction table: a row per image, or a second table with a row per study.
Level = Literal["image", "study"]
Aggregate = Literal["mean", "max"]

# Of DICOM objects: a report for each study or image, and what a heatmap becomes.
ReportPer = Literal["study", "image"]
MapObject = Literal["parametric-map", "secondary-capture"]

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
TrainPrecision = Literal["fp32", "bf16", "auto"]

# The model in the box.
# Our AE title towards archives that speak DIMSE.
CALLING_TITLE = "CXRZERO"
DEFAULT_MODEL = "cxrzero-mini"
# What --calibration takes besides a file: the one in the model's bundle.
OWN_CALIBRATION = "model"

# How a library call tells its user what it is about to do, such as the import of a checkpoint.
Notify = Callable[[str], None]


def silent(notice: str) -> None:
    """Tells nobody."""


def parse_device(text: str) -> Device:
    """Check a device as it is typed: "auto", "cpu", "cuda" (the first GPU), or "cuda:N", which CUDA counts from 0.

    Raises:
        UsageError: it is none of these.
    """
    if not isinstance(text, str) or not re.fullmatch(r"auto|cpu|cuda(:(0|[1-9][0-9]{0,2}))?", text):
        raise UsageError(f"device {text!r} is unknown; choose auto, cpu, cuda, or cuda:N for GPU number N (from 0)")
    return text


def gpu_number(device: Device) -> int:
    """The number of the GPU that "cuda" or "cuda:N" names."""
    return int(device.partition(":")[2] or 0)


def parse_engine(text: str) -> tuple[str, str]:
    """Read what has the work done: "local", "ray" or "slurm", and what stands behind "=": how many, or where.

    Raises:
        UsageError: it is none of these.
    """
    name, _, more = text.partition("=")
    if name not in ("local", "ray", "slurm"):
        raise UsageError(f"engine {text!r} is unknown; choose {ENGINES}")
    if name == "local" and more and not re.fullmatch(r"[1-9][0-9]{0,2}", more):
        raise UsageError(f"engine {text!r}: behind local= comes a number of processes, such as local=4")
    return name, more
