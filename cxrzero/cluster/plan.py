"""The plan of a run, on disk: the walk in slices, and what decides the rows.

`<stem>.plan/` beside the table is readable by its owner only, for it has the paths of all films. `plan.json` is written
last, so that a plan which is there is whole (`cxrzero.cluster.slicing` makes it).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from cxrzero._version import __version__
from cxrzero.cluster.engine import Task
from cxrzero.errors import OutputError, RunError, UsageError
from cxrzero.files import cannot_write, make_private, open_locked

SCHEMA_VERSION = 1
PLAN, LOCK, RESULTS, JOINING = "plan.json", "lock", "results", "joining"


class SliceEntry(NamedTuple):
    """What a plan says of a slice: position of its first film, films, SHA-256 of its file."""

    first: int
    films: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Sliced:
    """A plan, as plan.json has it.

    Attributes:
        asked: digest of the command (`cxrzero.cluster.asked`).
        options: of every task.
        folder: where relative paths start.
        host: name of the machine that made it.
        films: of the whole walk.
        walk: hexadecimal digest of it (`cxrzero.predict.shardlog.Walk`).
        ignored, unopened: other files that were found, see `cxrzero.sources.refs.WalkCounts`.
        not_fetched: of archives, see `cxrzero.archive.archives.Archives.unfetched`.
        made: when, in UTC.
        slices: in the order of the walk; the first has number 1.
    """

    asked: str
    options: Mapping[str, Any]
    folder: str
    host: str
    films: int
    walk: str
    ignored: int
    unopened: int
    not_fetched: Mapping[str, int] | None
    made: str
    slices: tuple[SliceEntry, ...]
    cxrzero: str = __version__
    schema_version: int = SCHEMA_VERSION


class PlanFolder:
    """The folder of a plan, with what its tasks leave; one driver at a time has it.

    Args:
        path: made if it has to be.

    Attributes:
        results: folder of what tasks leave (`cxrzero.cluster.results`).
        joining: there from when the table is begun, so that a driver that goes on may replace what another began.

    Raises:
        OutputError: another driver works here, or it cannot be made.
        UsageError: a folder of somebody else's is there.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.results, self.joining = path, path / RESULTS, path / JOINING
        if path.exists() and not (path / LOCK).exists() and (not path.is_dir() or any(path.iterdir())):
            raise UsageError(f"{path} is in the way: a run keeps its plan there; move it, or choose another --out")
        make_private(path)
        try:
            self._lock = open_locked(path / LOCK, mode=0o600)
        except BlockingIOError:
            raise OutputError(f"another run is at work in {path}; wait for it, or choose another --out") from None
        except OSError as error:
            raise cannot_write(path, error) from error

    def read(self) -> Sliced | None:
        """The plan, or None where there is none that is whole. Raises RunError where it is damaged."""
        return read_plan(self.path) if (self.path / PLAN).exists() else None

    def clear(self) -> None:
        """Take out whatever a plan and its tasks left; the folder stays this driver's."""
        (self.path / PLAN).unlink(missing_ok=True)  # first: without it the rest is no plan
        for each in self.path.iterdir():
            if each.is_dir():
                shutil.rmtree(each)
            elif each.name != LOCK:
                each.unlink()

    def delete(self) -> None:
        """The run is over."""
        (self.path / PLAN).unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        """Let go of it; without a plan it is of no use, and goes."""
        self._lock.close()
        if self.path.exists() and not (self.path / PLAN).exists():
            shutil.rmtree(self.path)


def read_plan(folder: Path) -> Sliced:
    """What plan.json says.

    Raises:
        RunError: it cannot be read, is damaged, or of another version.
    """
    try:
        found = json.loads((folder / PLAN).read_text(encoding="utf-8"))
        plan = Sliced(**{**found, "slices": tuple(SliceEntry(*each) for each in found["slices"])})
    except OSError as error:
        raise RunError(f"{folder / PLAN} cannot be read: {error.strerror}") from error
    except (ValueError, TypeError, KeyError) as error:
        raise RunError(f"{folder / PLAN} is damaged; delete the folder, and start again") from error
    if plan.schema_version != SCHEMA_VERSION:
        raise RunError(f"{folder} is the plan of another version of cxrzero; delete it, and start again")
    return plan


def slice_file(folder: Path, number: int) -> Path:
    return folder / f"slice-{number:04d}.jsonl"


def task_of(folder: Path, number: int, plan: Sliced | None = None) -> Task:
    """A slice of a plan as a task.

    Args:
        folder: of the plan.
        plan: what `read_plan` gave, where that is known.

    Raises:
        RunError: the plan or the slice cannot be read; whether it is whole is seen where it is carried out.
    """
    plan = plan or read_plan(folder)
    first, films, sha256 = plan.slices[number - 1]
    file = slice_file(folder, number)
    try:
        content = file.read_bytes()
    except OSError as error:
        raise RunError(f"{file} cannot be read: {error.strerror}") from error
    return Task(
        number,
        len(plan.slices),
        first,
        films,
        plan.films,
        plan.walk,
        content,
        sha256,
        plan.options,
        plan.folder,
        plan.host,
    )
