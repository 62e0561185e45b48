"""A task, carried out on a node: a slice of the walk goes through the code of `predict --shard`."""

from __future__ import annotations

import json
import os
import socket
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cxrzero.cluster import asked
from cxrzero.cluster.engine import NodeError, Task
from cxrzero.cluster.results import TABLE, files_of, new_part, part_folder
from cxrzero.cluster.slices import paths_of, refs_of
from cxrzero.cluster.visible import check_visible
from cxrzero.errors import CxrzeroError, RunError

if TYPE_CHECKING:
    from cxrzero.archive.archives import Archives
    from cxrzero.pipeline.live import Live
    from cxrzero.predict.options import PredictOptions
    from cxrzero.remote.objects import Objects
    from cxrzero.screener import Screener

# Is told how many films are done.
Progress = Callable[[int], None]
SECONDS_BETWEEN_NEWS = 0.5


def run_slice(task: Task, results: Path, notify_progress: Progress = lambda films: None) -> None:
    """Carry a task out; its result appears in `results`, whole or not at all. One that is there already stays.

    Args:
        results: folder of results (`PlanFolder.results`); made if it has to be.
        notify_progress: is called now and then.

    Raises:
        CxrzeroError: as `predict` raises it.
    """
    if part_folder(results, task.number).exists():  # of another try, or of one that outlived its driver
        return
    with new_part(results, task.number) as folder:
        _carry_out(task, folder, notify_progress)


def slice_as_bytes(task: Task, notify_progress: Progress = lambda films: None) -> dict[str, bytes]:
    """Carry a task out where the plan's folder is out of reach: the result, as `Ended.files` takes it."""
    with tempfile.TemporaryDirectory(prefix="cxrzero-") as name:
        run_slice(task, Path(name), notify_progress)
        return files_of(part_folder(Path(name), task.number))


def load(task: Task) -> None:
    """Have the models ready for tasks that ask for the same. Raises as `run_slice`; what it raises is of the node."""
    _enter(task.folder)
    _kept.screener(task, asked.read(task.options))


def as_typed(error: Exception) -> CxrzeroError:
    """What an engine hands on: an error that nobody expected is named by its type and place alone, for its words may
    quote a film."""
    if isinstance(error, CxrzeroError):
        return error
    place = traceback.extract_tb(error.__traceback__)[-1]
    return RunError(
        f"unexpected {type(error).__name__} in {os.path.basename(place.filename)}:{place.lineno} on "
        f"{socket.gethostname()}; this is a defect of cxrzero"
    )


def node() -> dict[str, Any]:
    """This machine and process, for the record of what they did."""
    from cxrzero.backends.base import cpu_count
    from cxrzero.backends.processor import processor_name

    node = {"host": socket.gethostname(), "pid": os.getpid(), "processor": processor_name(), "cpus": cpu_count()}
    job = os.environ.get("SLURM_ARRAY_JOB_ID") or os.environ.get("SLURM_JOB_ID")
    return node | {"job": job} if job else node


def _carry_out(task: Task, folder: Path, notify_progress: Progress) -> None:
    from cxrzero.files import write_json
    from cxrzero.predict.manifest import manifest_path
    from cxrzero.predict.plan import plan_of
    from cxrzero.predict.run import run
    from cxrzero.predict.shard import Slice

    _enter(task.folder)
    check_visible(task)
    options = replace(asked.read(task.options), out=str(folder / TABLE))
    record = manifest_path(str(folder / TABLE))
    plan = plan_of(options, _kept.screener(task, options), str(folder / TABLE), record)
    part = Slice(task.number, task.count, task.films, refs_of(task), task.found, bytes.fromhex(task.walk))
    run(plan, _News(task, notify_progress), part=part)
    write_json(record, json.loads(record.read_text(encoding="utf-8")) | {"node": node()})


class _Kept:
    """The models of this process, by what was asked of them: loaded once, for one task after the other."""

    def __init__(self) -> None:
        self._asked = ""
        self._screener: Screener | None = None

    def screener(self, task: Task, options: PredictOptions) -> Screener:
        from cxrzero.backends.base import limit_cpus
        from cxrzero.predict.plan import open_screener
        from cxrzero.sources.reader import Reader

        archives, objects = _archives(task, options), _objects(task, options)
        cache_folder = _cache_folder(task)
        wanted = json.dumps([task.options, task.cpus, str(cache_folder)], sort_keys=True)
        if self._screener is None or self._asked != wanted:
            self.close()
            limit_cpus(task.cpus)
            self._screener = open_screener(options, archives=archives, objects=objects, cache_folder=cache_folder)
            self._asked = wanted
        self._screener.reader = Reader(archives, objects)
        if frames := self._screener.gpu_frames:
            frames.on_gpu = frames.on_cpu = 0  # each task counts its own
        return self._screener

    def close(self) -> None:
        if self._screener and self._screener.store:
            self._screener.store.close()
        self._screener = None


_kept = _Kept()


class _News:
    """Tells now and then how many films are done."""

    def __init__(self, task: Task, notify: Progress) -> None:
        self._films, self._notify, self._next = task.films, notify, 0.0

    def __call__(self, live: Live) -> None:
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + SECONDS_BETWEEN_NEWS
            self._notify(min(live.stats.rows, self._films))  # a film may have several frames


def _archives(task: Task, options: PredictOptions) -> Archives | None:
    """What fetches those films that lie in an archive; the driver listed them."""
    from cxrzero.archive.archives import Archives
    from cxrzero.places.kind import kind_of_place

    archives = Archives(
        refetch=options.refetch,
        keep=options.keep_files,
        ca_file=options.ca_file,
        calling_title=options.calling_title,
    )
    archives.check([path for path in paths_of(task) if kind_of_place(path) == "archive"])
    return archives or None


def _objects(task: Task, options: PredictOptions) -> Objects | None:
    """What fetches those films that lie in a store; the driver listed them."""
    from cxrzero.places.kind import is_local, kind_of_place
    from cxrzero.places.members import file_of
    from cxrzero.remote.objects import Objects

    objects = Objects(ca_file=options.ca_file)
    for path in paths_of(task):
        kind = kind_of_place(path)
        if kind == "object" or (kind == "member" and not is_local(path)):
            objects.check([file_of(path)])
    return objects or None


def _cache_folder(task: Task) -> Path | None:
    """Where this machine keeps embeddings: where it always does, or, for another one's plan, in a folder of its own.

    Many machines may have one home folder, and SQLite's log does not work between machines.
    """
    from cxrzero.cache.store import folder_of

    host = socket.gethostname()
    return None if host == task.host else folder_of(host)


def _enter(folder: str) -> None:
    """Relative paths start where the driver was."""
    try:
        if os.getcwd() != folder:
            os.chdir(folder)
    except OSError as error:
        raise NodeError(
            f"the folder {folder} cannot be entered on {socket.gethostname()} ({error.strerror}): a cluster's machines "
            "need the folder in which the command is given, and that of the films, at the same place"
        ) from error
