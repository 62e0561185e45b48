"""A run on disk.

run.json          options, command, seed, versions, fingerprint of the data, where it ran
checkpoints/      last.pt: to go on from; best-<step>.pt: weights alone
metrics.jsonl     a line for every step and validation
nonfinite-*.json  batches whose loss was not finite
store/            decoded images
curves.html       the run in pictures
model.json, …     the finished bundle; ensemble/: the best checkpoints as bundles
"""

from __future__ import annotations

import datetime
import json
import shutil
from pathlib import Path
from typing import Any, BinaryIO

from cxrzero._version import __version__
from cxrzero.errors import OutputError, OutputExistsError, UsageError
from cxrzero.files import cannot_write, open_locked, software, write_json
from cxrzero.model.model_json import MODEL_JSON, TOKENIZER
from cxrzero.registry.trainingrun import CHECKPOINTS, RUN_JSON
from cxrzero.train.options import TrainOptions
from cxrzero.train.recipes import from_json, to_json

LOCK, LAST, ENSEMBLE = "run.lock", "last.pt", "ensemble"
# What decides what a run computes.
VERSIONED = ("torch", "open_clip_torch", "timm", "onnx", "tokenizers", "numpy", "pillow")


class RunFolder:
    """The folder of one run, locked for as long as this object lives."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: BinaryIO | None = None

    @property
    def last(self) -> Path:
        """The checkpoint to go on from."""
        return self.path / CHECKPOINTS / LAST

    def checkpoint(self, name: str) -> Path:
        return self.path / CHECKPOINTS / name

    def claim(self, resume: bool, overwrite: bool) -> None:
        """Take the folder for this process.

        Raises:
            OutputExistsError: a run is there already, and it is neither to be resumed nor replaced.
            OutputError: another process works there, or the folder cannot be written.
        """
        started = (self.path / RUN_JSON).exists()
        finished = (self.path / MODEL_JSON).exists()
        if (started or finished) and not resume and not overwrite:
            kind = "a finished" if finished else "an unfinished"
            advice = "" if finished else f" continue it with --resume {self.path},"
            raise OutputExistsError(f"{self.path} holds {kind} run;{advice} choose another folder, or pass --overwrite")
        try:
            (self.path / CHECKPOINTS).mkdir(parents=True, exist_ok=True)
            self._lock = open_locked(self.path / LOCK)
        except BlockingIOError:
            raise OutputError(
                f"another process is training in {self.path}; wait for it, or choose another --out"
            ) from None
        except OSError as error:
            raise cannot_write(self.path, error) from error
        if not resume:
            self._clear()

    def release(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def describe(self, options: TrainOptions, facts: dict[str, Any]) -> None:
        """Write run.json: what is needed to repeat or resume the run."""
        content = {
            "cxrzero": __version__,
            "command": options.command,
            "config": to_json(options),
            **facts,
            "versions": software(VERSIONED),
            "started": _now(),
            "resumed": [],
        }
        write_json(self.path / RUN_JSON, content)

    def description(self) -> dict[str, Any]:
        """run.json.

        Raises:
            UsageError: there is none.
        """
        try:
            content: dict[str, Any] = json.loads((self.path / RUN_JSON).read_text("utf-8"))
        except FileNotFoundError:
            raise UsageError(f"{self.path} holds no run to resume: it has no {RUN_JSON}") from None
        except (OSError, ValueError) as error:
            raise UsageError(f"{self.path / RUN_JSON} cannot be read: {error}") from error
        return content

    def options(self) -> TrainOptions:
        """The options that the run was started with."""
        recorded = self.description()["config"]
        numbers = {name: float("inf") for name, value in recorded.items() if value == "inf"}
        return from_json(recorded | numbers | {"out": str(self.path)})

    def note_resumption(self, facts: dict[str, Any]) -> None:
        content = self.description()
        content["resumed"].append({"at": _now()} | facts)
        write_json(self.path / RUN_JSON, content)

    def note_nonfinite(self, step: int, loss: float, images: list[str]) -> Path:
        """Keep the files of a batch whose loss was not finite."""
        path = self.path / f"nonfinite-{step:08}.json"
        write_json(path, {"step": step, "loss": str(loss), "images": images})
        return path

    def drop_checkpoints(self, kept: set[str]) -> None:
        """Delete all weights that no list names any more."""
        for path in (self.path / CHECKPOINTS).iterdir():
            if path.name not in kept | {LAST}:
                path.unlink()

    def _clear(self) -> None:
        """Remove an earlier run, except its store, which may serve again."""
        for name in (MODEL_JSON, RUN_JSON, TOKENIZER, "metrics.jsonl", "curves.html"):
            (self.path / name).unlink(missing_ok=True)
        for path in [*self.path.glob("nonfinite-*.json"), *(self.path / CHECKPOINTS).iterdir()]:
            path.unlink()
        for name in (ENSEMBLE, "tensorboard"):
            shutil.rmtree(self.path / name, ignore_errors=True)


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
