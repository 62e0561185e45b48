"""`--engine local`: processes of this machine, each with its share of the cores, or with a GPU.

They are fresh processes, not forks, that load the model once. They leave Ctrl-C to the driver, and end when it does,
however that ends.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import ClassVar

from cxrzero.cluster.engine import Ended, LostError, Task
from cxrzero.cluster.plan import RESULTS
from cxrzero.cluster.task import as_typed, run_slice
from cxrzero.errors import CxrzeroError, RunError
from cxrzero.pipeline.workers import end_with_parent, interrupts_stay_here
from cxrzero.predict.options import PredictOptions

# Of a machine without GPUs: up to so many cores one process keeps busy with threads alone.
CORES_OF_A_PROCESS = 4
# For the end of a process that has closed its connection.
END_S = 10.0
VISIBLE_GPUS = "CUDA_VISIBLE_DEVICES"


def open_local(more: str, options: PredictOptions, folder: Path) -> Local:
    """See `cxrzero.cluster.open.open_engine`; `more` is the number of processes."""
    from cxrzero.backends.base import cpu_count

    gpus = _gpus(options.device)
    processes = int(more) if more else len(gpus) or max(1, -(-cpu_count() // CORES_OF_A_PROCESS))
    return Local(processes, folder / RESULTS, gpus)


class Local:
    """Processes that carry out one task after the other.

    Args:
        processes: how many.
        results: folder of results.
        gpus: what CUDA_VISIBLE_DEVICES names each of them; a process gets one, in turn.
    """

    name = "local"
    versions: ClassVar[Mapping[str, str]] = {}

    def __init__(self, processes: int, results: Path, gpus: Sequence[str] = ()) -> None:
        shares = _shares(processes)
        self._workers = [
            _Worker(results, share, gpus[index % len(gpus)] if gpus else None) for index, share in enumerate(shares)
        ]

    def room(self) -> int:
        return sum(worker.number is None for worker in self._workers)

    def submit(self, task: Task, number: int) -> None:
        next(worker for worker in self._workers if worker.number is None).start(task, number)

    def ended(self, timeout: float) -> list[Ended]:
        busy = [worker for worker in self._workers if worker.number is not None]
        if not busy:
            threading.Event().wait(timeout)
            return []
        wait([each for worker in busy for each in worker.signs], timeout)
        return [ended for worker in busy if (ended := worker.look())]

    def progress(self) -> Mapping[int, int]:
        return {worker.number: worker.films for worker in self._workers if worker.number is not None}

    def cancel(self, number: int) -> None:
        for worker in self._workers:
            if worker.number == number:
                worker.kill()

    def close(self) -> None:
        for worker in self._workers:
            worker.end()


class _Worker:
    """One process, started when it is first needed and again when it died.

    Attributes:
        number: of the try that it is at; None where it has nothing to do.
        films: done of it.
    """

    def __init__(self, results: Path, cores: Sequence[int], gpu: str | None) -> None:
        self._results, self._cores, self._gpu = results, cores, gpu
        self._process: multiprocessing.process.BaseProcess | None = None
        self._connection: Connection | None = None
        self.number: int | None = None
        self.films = 0

    @property
    def signs(self) -> list[Connection | int]:
        """What becomes ready when there is news."""
        assert self._process is not None
        assert self._connection is not None
        return [self._connection, self._process.sentinel]

    def start(self, task: Task, number: int) -> None:
        self.number, self.films = number, 0
        if self._process is not None and not self._process.is_alive():  # it ended while it had nothing to do
            self.end()
        if self._process is None:
            try:
                self._begin()
            except OSError as error:  # too many processes or open files, or no memory
                raise RunError(f"a process could not be started ({error}); use fewer: --engine local=N") from error
        assert self._connection is not None
        with suppress(OSError):  # it died meanwhile, which `look` finds out
            self._connection.send(replace(task, cpus=len(self._cores)))

    def _begin(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        with theirs, interrupts_stay_here():
            process = context.Process(target=_serve, args=(theirs, self._results, self._cores, self._gpu))
            process.start()
        self._process = process

    def look(self) -> Ended | None:
        """Take the news; how the try ended, if it did."""
        assert self._process is not None
        assert self._connection is not None
        assert self.number is not None
        is_alive = self._process.is_alive()  # asked first: what was said before the end is still there to be read
        try:
            while self._connection.poll():
                news = self._connection.recv()
                if isinstance(news, int):
                    self.films = news
                    continue
                if news is not None:  # a GPU that failed may fail for ever in this process
                    self.end()
                return self._ended(news)
        except (EOFError, OSError):
            is_alive = False
        if is_alive:
            return None
        self._process.join(END_S)
        code = self._process.exitcode
        self.end()
        return self._ended(LostError(f"a process ended by itself{_why(code)}"))

    def kill(self) -> None:
        """End the process in the middle of its work, which is then reported as lost."""
        if self._process is not None:
            self._process.kill()

    def end(self) -> None:
        """End the process at once."""
        if self._process is not None:
            assert self._connection is not None
            self._process.kill()
            self._process.join()
            self._process.close()
            self._connection.close()
            self._process = self._connection = None

    def _ended(self, error: object) -> Ended:
        number, self.number = self.number, None
        assert number is not None
        return Ended(number, error if isinstance(error, CxrzeroError) else None, "this machine")


def _serve(connection: Connection, results: Path, cores: Sequence[int], gpu: str | None) -> None:
    """Carry out tasks until the connection is closed. Says how many films are done, then None or the error."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=end_with_parent, daemon=True).start()
    if gpu is not None:
        os.environ[VISIBLE_GPUS] = gpu
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)
    try:
        while True:
            task = connection.recv()
            assert isinstance(task, Task)
            try:
                run_slice(task, results, connection.send)
            except Exception as error:
                connection.send(as_typed(error))
            else:
                connection.send(None)
    except (EOFError, OSError):
        return


def _shares(processes: int) -> list[list[int]]:
    """The cores of each process, as even as they can be; where there are too few, they share."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))
    if processes >= len(cores):
        return [[cores[index % len(cores)]] for index in range(processes)]
    return [
        cores[index * len(cores) // processes : (index + 1) * len(cores) // processes] for index in range(processes)
    ]


def _gpus(device: str) -> list[str]:
    """The cards that processes are to share out among them; none where one is named, or none is wanted."""
    from cxrzero.backends.gpus import find_gpus

    if device != "cuda":
        return []
    chosen = os.environ.get(VISIBLE_GPUS)
    return chosen.split(",") if chosen else [str(gpu.number) for gpu in find_gpus()]


def _why(code: int | None) -> str:
    if code is None or code >= 0:
        return ""
    name = signal.Signals(-code).name if -code in signal.valid_signals() else f"signal {-code}"
    return f" ({name}{', which the system sends when memory runs out' if name == 'SIGKILL' else ''})"
