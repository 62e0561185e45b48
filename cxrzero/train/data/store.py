"""Images decoded once, at training resolution, so that an epoch never waits for a decoder.

    <location>/<key>/pixels.npy      (N, H, W) uint8, allocated in full before the first image
    <location>/<key>/decoded.jsonl   a line for every chunk that is whole: what is known of its images

The key is a hash of the files' names, sizes and times and of the geometry, so that a changed file or another model has
a store of its own, and several runs may share one location. A line is written after its chunk's pixels: a killed run
goes on where it was.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from cxrzero.display.counts import counted
from cxrzero.errors import OutputError, TrainingError, UsageError
from cxrzero.files import WholeFile, open_locked
from cxrzero.pipeline.workers import Advice, Workers, most_workers
from cxrzero.train.data.decodejob import DecodeChunk, Fit, Geometry, ImageFacts
from cxrzero.train.data.intake import listed
from cxrzero.train.data.pairs import Pairs

CHUNK = 128  # images; what a killed worker loses
MAX_WORKERS = 16
VERSION = 1
ADVICE = Advice(
    "--decode-workers", "--decode-workers 1", "decode_workers=1", "; what was decoded is kept", TrainingError
)
PIXELS, DECODED, LOCK = "pixels.npy", "decoded.jsonl", "store.lock"

OnImage = Callable[[int, int], None]


class Pictures(Protocol):
    """(N, H, W) uint8, read by rows."""

    def __getitem__(self, rows: npt.NDArray[np.int64], /) -> npt.NDArray[np.uint8]: ...

    def __len__(self) -> int: ...


@dataclass(frozen=True)
class ImageStore:
    """The pictures of a run.

    Attributes:
        pairs: those whose image could be read.
        pixels: their pictures, in the order of `pairs.images`.
        facts: what is known of each of them.
        unreadable: files that were left out, each with its reason.
        fingerprint: sha256 over the rows of the pairs and the bytes of every image file.
    """

    pairs: Pairs
    pixels: Pictures
    facts: list[ImageFacts]
    unreadable: list[str]
    fingerprint: str


class _Rows:
    """Some rows of an array, without a copy of it."""

    def __init__(self, array: npt.NDArray[np.uint8], rows: npt.NDArray[np.int64]) -> None:
        self._array, self._rows = array, rows

    def __getitem__(self, rows: npt.NDArray[np.int64], /) -> npt.NDArray[np.uint8]:
        return self._array[self._rows[rows]]

    def __len__(self) -> int:
        return len(self._rows)


def data_fingerprint(pairs: Pairs, file_sha256: list[str]) -> str:
    """One hash for everything that a run learns from.

    Args:
        file_sha256: of each image's bytes, in the order of `pairs.images`.
    """
    digest = hashlib.sha256(pairs.rows_sha256.encode())
    for name, value in zip(pairs.images, file_sha256, strict=True):
        digest.update(f"{name}\x1f{value}\x1e".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def open_store(
    pairs: Pairs,
    location: Path,
    geometry: Geometry,
    on_image: OnImage,
    *,
    workers: int | None = None,
    skip_unreadable: bool = False,
) -> ImageStore:
    """Decode every image into a folder below `location`, or take what is there already from the same files.

    More than one chunk is decoded by several processes, which import the main module anew: a script of your own
    calls this under `if __name__ == "__main__":`.

    Args:
        geometry: a bundle's preprocessing up to `rescale`, so that all pictures have one size.
        on_image: told (done, total) now and then.
        workers: decoding processes; None = one for each core, at most 16.
        skip_unreadable: leave out images that cannot be decoded.

    Raises:
        UsageError: images cannot be decoded; all are named.
        OutputError: the store cannot be written, or does not fit on its disk.
        TrainingError: a decoding process died.
    """
    folder = location / _key(pairs, geometry)
    with _alone(folder):
        array = _allocate(folder, len(pairs.paths), geometry)
        facts = _read_log(folder / DECODED, len(pairs.paths))
        _decode_missing(pairs, folder, geometry, facts, on_image, workers or _cores(), retry=not skip_unreadable)
    known = [facts[row] for row in range(len(pairs.paths))]
    unreadable = [f"{path}: {f.error}" for path, f in zip(pairs.paths, known, strict=True) if f.error is not None]
    if unreadable and not skip_unreadable:
        raise UsageError(
            f"{counted(len(unreadable), 'image')} cannot be read:",
            *listed(unreadable),
            "Replace them, or go on without them with --skip-unreadable. The others are decoded and kept.",
        )
    pixels = np.load(array, mmap_mode="r")
    if not unreadable:
        return ImageStore(pairs, pixels, known, [], data_fingerprint(pairs, [f.sha256 for f in known]))
    rows = np.array([row for row, f in enumerate(known) if f.error is None], np.int64)
    left, kept = pairs.only(rows), [known[row] for row in rows]
    return ImageStore(left, _Rows(pixels, rows), kept, unreadable, data_fingerprint(left, [f.sha256 for f in kept]))


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Let one of the runs that share a store decode while the others wait; the lock ends with the process."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = open_locked(folder / LOCK, wait=True)
    except OSError as error:
        raise OutputError(
            f"{folder} cannot keep the decoded images: {error.strerror}; choose another --store"
        ) from error
    with file:
        yield


def _key(pairs: Pairs, geometry: Geometry) -> str:
    digest = hashlib.sha256(json.dumps([VERSION, [dict(step) for step in geometry]]).encode())
    for name, path in zip(pairs.images, pairs.paths, strict=True):
        try:
            status = path.stat()
            state = (name, status.st_size, status.st_mtime_ns)
        except OSError:
            state = (name, -1, -1)  # gone since it was listed; decoding says so
        digest.update(json.dumps(state).encode())
    return digest.hexdigest()[:32]


def _allocate(folder: Path, count: int, geometry: Geometry) -> Path:
    """The array with all of its disk space taken, because a map that finds the disk full kills the process."""
    array = folder / PIXELS
    shape = (count, *Fit(geometry).size)
    try:
        if array.exists():
            return array
        with WholeFile(array) as whole:
            np.lib.format.open_memmap(whole.partial, mode="w+", dtype=np.uint8, shape=shape)
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(whole.file.fileno(), 0, whole.partial.stat().st_size)
            whole.commit()
    except OSError as error:
        size = f"{count * shape[1] * shape[2] / 1e9:.1f} GB for {counted(count, 'image')}"
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise OutputError(
                f"{folder} has no room for the decoded images ({size}); choose another --store"
            ) from error
        raise OutputError(
            f"{folder} cannot keep the decoded images: {error.strerror}; choose another --store"
        ) from error
    return array


def _read_log(path: Path, count: int) -> dict[int, ImageFacts]:
    """Row → facts of every whole line; a line that a kill cut short is left out."""
    facts: dict[int, ImageFacts] = {}
    if not path.exists():
        return facts
    for line in path.read_text("utf-8").splitlines():
        try:
            entries: dict[str, list[Any]] = json.loads(line)
        except ValueError:
            continue
        for row, (sha256, digest, flags, error) in entries.items():
            if int(row) < count:
                facts[int(row)] = ImageFacts(sha256, digest, tuple(flags), error)
    return facts


def _decode_missing(
    pairs: Pairs,
    folder: Path,
    geometry: Geometry,
    facts: dict[int, ImageFacts],
    on_image: OnImage,
    workers: int,
    retry: bool,
) -> None:
    """Complete `facts` and the array, chunk by chunk."""
    total = len(pairs.paths)
    wanted = [row for row in range(total) if row not in facts or (retry and facts[row].error is not None)]
    chunks = [
        DecodeChunk(n, folder / PIXELS, tuple(rows), tuple(pairs.paths[row] for row in rows), geometry)
        for n, rows in enumerate(wanted[i : i + CHUNK] for i in range(0, len(wanted), CHUNK))
    ]
    done = total - len(wanted)
    try:
        with (folder / DECODED).open("a", encoding="utf-8") as log:
            log.write("\n" if chunks else "")  # ends a line that a kill cut short
            with closing(_run(chunks, workers)) as finished:  # at once, whatever happens here
                for number, found in finished:
                    facts.update(found)
                    log.write(json.dumps({str(row): fact.as_list() for row, fact in found.items()}) + "\n")
                    log.flush()
                    done += len(chunks[number].rows)
                    on_image(done, total)
    except OSError as error:
        raise OutputError(f"{folder / DECODED} cannot be written: {error.strerror}; choose another --store") from error
    if not chunks:
        on_image(total, total)


def _run(chunks: list[DecodeChunk], workers: int) -> Generator[tuple[int, dict[int, ImageFacts]], None, None]:
    """The chunks' results as they come, from as many processes as there is work for."""
    workers = most_workers(min(workers, len(chunks)))
    if workers < 2:
        yield from (chunk.run() for chunk in chunks)
        return
    pool = Workers(workers, ADVICE)
    try:
        left = iter(chunks)
        waiting: set[Future[tuple[int, dict[int, ImageFacts]]]] = set()
        while True:
            waiting |= {pool.submit(chunk.run) for chunk in islice(left, 2 * workers - len(waiting))}
            if not waiting:
                return
            finished, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            yield from map(pool.result, finished)
    finally:
        pool.close()


def _cores() -> int:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(MAX_WORKERS, cores)
