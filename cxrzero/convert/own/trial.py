"""Graphs of anybody's run in a process of their own: a library that crashes over one, or takes all memory, ends it."""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from cxrzero.errors import ImportModelError, RunError
from cxrzero.pipeline.workers import end_with_parent, interrupts_stay_here

# Address space beside what the process has at its start: what the largest towers compute in.
ROOM = 6 * 2**30
OF_FILES = 4  # times the size of the graphs and their weights

Feed = Mapping[str, npt.NDArray[Any]]


class Trial:
    """A process that runs graphs.

    Args:
        size: bytes of all files that it will open.
    """

    def __init__(self, size: int) -> None:
        self._room = ROOM + OF_FILES * size
        self._pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), _begin, (self._room,))
        try:
            with interrupts_stay_here():
                self._pool.submit(_begun).result()
        except (BrokenProcessPool, OSError) as error:
            self._pool.shutdown()
            raise RunError(
                'a process that tries the encoders could not start; a script needs if __name__ == "__main__": around '
                "what "
                f"it runs ({error})"
            ) from error

    def run(self, graph: Path, called: Path, feeds: Sequence[Feed]) -> list[npt.NDArray[Any]]:
        """The first output of a graph for each feed.

        Args:
            graph: whose weights, if it has not all of them itself, are where a bundle has them.
            called: the user's file, for errors.

        Raises:
            ImportModelError: it cannot be run, or whatever runs it ends over it.
        """
        found = self._ask(graph, called, feeds)
        if isinstance(found, str):
            raise ImportModelError(f"{called}: {found}")
        return found

    def _ask(self, graph: Path, called: Path, feeds: Sequence[Feed]) -> list[npt.NDArray[Any]] | str:
        try:
            return self._pool.submit(answers, graph, feeds).result()
        except BrokenProcessPool as error:
            raise ImportModelError(
                f"{called}: ONNX Runtime ended over this graph: it crashed, or {self._room / 2**30:.0f} GiB of memory "
                "were not enough"
            ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)


def _begin(room: int) -> None:
    """Settle the process, with a limit to its memory where the system has one."""
    import signal
    import threading

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=end_with_parent, daemon=True).start()
    import onnxruntime

    onnxruntime.set_default_logger_severity(4)  # what goes wrong is an exception, too
    if sys.platform == "linux":
        import resource

        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        limit = room + pages * resource.getpagesize()
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(resource.RLIMIT_AS, (limit, hard))


def _begun() -> None:
    pass


def answers(graph: Path, feeds: Sequence[Feed]) -> list[npt.NDArray[Any]] | str:
    """What the graph gives, or a sentence that says what it fails on."""
    import onnxruntime

    from cxrzero.backends.base import first_line
    from cxrzero.model.weights import map_tensors

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        weights = map_tensors(graph)
        shared = [onnxruntime.OrtValue.ortvalue_from_numpy(value) for value in weights.values()]
        options.add_external_initializers(list(weights), shared)
        model = graph.read_bytes() if weights else str(graph)
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"], enable_fallback=0)
    except Exception as error:  # onnxruntime's own errors share no base class
        return f"ONNX Runtime {onnxruntime.__version__} does not read it: {first_line(error)}"
    found = []
    for feed in feeds:
        try:
            found.append(np.asarray(session.run(None, dict(feed))[0]))
        except Exception as error:
            shapes = " and ".join(str(tuple(each.shape)) for each in feed.values())
            return f"it fails on input of {shapes}: {first_line(error)}"
    return found
