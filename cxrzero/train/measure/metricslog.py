"""metrics.jsonl: a line for every step and every validation; and TensorBoard, where it is installed."""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from cxrzero.errors import OutputError
from cxrzero.files import cannot_write

FILE = "metrics.jsonl"


class MetricsLog:
    """Appends records.

    Args:
        folder: run folder.
        keep: bytes of the file to go on from; what a killed run wrote after its last checkpoint is cut off, because
            the steps will be taken again.
        step: the step to go on from.
    """

    def __init__(self, folder: Path, keep: int, step: int) -> None:
        self._path = folder / FILE
        self._file = self._path.open("ab")
        if self._file.tell() < keep:
            self._file.close()
            raise OutputError(f"{self._path} is shorter than when the last checkpoint was written; restore it")
        self._file.truncate(keep)
        self._board = _tensorboard(folder, step)

    def write(self, record: dict[str, Any]) -> None:
        """Add a line; `step` counts optimiser steps done.

        Raises:
            WriteError: the disk is full or went away.
        """
        try:
            self._file.write(json.dumps(record).encode() + b"\n")
            self._file.flush()
        except OSError as error:
            raise cannot_write(self._path, error) from error
        if self._board is not None:
            for name, value in _numbers(record).items():
                self._board.add_scalar(name, value, record["step"])

    def position(self) -> int:
        """Bytes that are safely on the disk."""
        self._file.flush()
        os.fsync(self._file.fileno())
        return self._file.tell()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        if self._board is not None:
            self._board.close()


def read(folder: Path) -> list[dict[str, Any]]:
    """All records of a run folder."""
    path = folder / FILE
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []


def _numbers(record: dict[str, Any], prefix: str = "") -> dict[str, float]:
    """Every number by its path; an estimate (value, low, high) is three."""
    found: dict[str, float] = {}
    for name, value in record.items():
        if isinstance(value, dict):
            found |= _numbers(value, f"{prefix}{name}/")
        elif isinstance(value, list | tuple):
            low_high = {"low": value[1], "high": value[2]}
            found |= {prefix + name: float(value[0])} | _numbers(low_high, f"{prefix}{name}/")
        elif isinstance(value, int | float) and name not in ("step", "epoch"):
            found[prefix + name] = float(value)
    return found


def _tensorboard(folder: Path, step: int) -> Any:
    if importlib.util.find_spec("tensorboard") is None:
        return None
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(folder / "tensorboard", purge_step=step)
