"""What a command was asked to do, as plain data. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class PredictConfig:
    """One `cxrzero predict`.

    Attributes:
        paths: files, folders and @lists, as given.
        labels: findings in plain words; None asks the model's own list.
        out: path of the table, "-" for standard output.
        model: bundle folder or name of a known model.
        batch_size, workers: None leaves the choice to the program.
        fail_fast: end the run at the first image that cannot be read.
    """

    paths: tuple[str, ...]
    labels: tuple[str, ...] | None = None
    out: str = "predictions.csv"
    model: str = "cxrzero-mini"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    batch_size: int | None = None
    workers: int | None = None
    overwrite: bool = False
    fail_fast: bool = False
    invert: Literal["auto", "yes", "no"] = "auto"
