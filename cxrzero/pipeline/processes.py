"""Files decoded in processes, for machines on which threads would wait for each other (see `cxrzero.pipeline.threads`).

Files go out in groups and come back as their frames, in the order in which they went. A file of many frames is not
brought over whole: it is decoded here, frame by frame, so that memory stays flat.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cxrzero.cache.images import FileRecord
from cxrzero.images import decode
from cxrzero.images.radiograph import DecodeOptions, Radiograph
from cxrzero.model.preprocess import Preprocess
from cxrzero.pipeline.decode_file import FRAMES_AHEAD, items_of
from cxrzero.pipeline.embedder import inputs_of
from cxrzero.pipeline.items import Frame, Item, RunStats
from cxrzero.pipeline.threads import ThreadDecoders
from cxrzero.pipeline.workers import Advice, Workers, most_workers
from cxrzero.sources import ImageRef

# Files of one message: each costs the two processes that it wakes more than a small film's frame.
GROUP = 4
ADVICE = Advice("--workers", "--decode-in threads", 'decode_in="threads"')

Task = tuple[ImageRef, Sequence[FileRecord | None]]


class Decoded(NamedTuple):
    """What a process made of one file.

    Attributes:
        items: None for a file of more than FRAMES_AHEAD frames, which it leaves alone.
        seconds: that it took.
    """

    items: list[Item] | None
    seconds: float


class ProcessDecoders:
    """Processes that are started when files wait, `workers` at most; see `cxrzero.pipeline.threads.Decoders`.

    Files go out in groups of GROUP. While fewer groups than workers are out, each file goes out at once, so that a few
    files are shared by all processes; `ahead` files keep all of them busy with full groups.

    Args:
        options: how files are decoded.
        preprocesses: of each model; equal ones are one object.
        workers: how many.
        stats: is told how long decoding took.

    Raises:
        RunError: from all that sends or takes files: this system has no means for processes, or one of them ended.
    """

    def __init__(
        self, options: DecodeOptions, preprocesses: Sequence[Preprocess], workers: int, stats: RunStats
    ) -> None:
        self._most = most_workers(workers)
        self.ahead = self._most * GROUP
        self._workers = Workers(self._most, ADVICE, _know, (options, tuple(preprocesses)))
        self._stats = stats
        self._here = ThreadDecoders(partial(_decode, options), preprocesses, 1, stats)
        self._group = _Group()
        self._out = 0  # groups that were sent and not taken to their end

    def submit(self, ref: ImageRef, records: Sequence[FileRecord | None]) -> ProcessJob:
        group = self._group
        group.tasks.append((ref, records))
        job = ProcessJob(self, group, len(group.tasks) - 1)
        if len(group.tasks) == GROUP or self._out < self._most:
            self.send(group)
        return job

    def send(self, group: _Group) -> Future[list[Decoded]]:
        """Have a group decoded, full or not."""
        if group.future is None:
            group.future = self._workers.submit(_decode_group, group.tasks)
            self._out += 1
            self._group = _Group()
        return group.future

    def take(self, group: _Group, index: int) -> Iterator[Item]:
        """The items of one file of a group."""
        ref, records = group.tasks[index]
        found = self._workers.result(self.send(group))[index]
        self._out -= index == len(group.tasks) - 1
        if found.items is None:
            yield from self._here.submit(ref, records).items()
            return
        self._stats.add_decode(found.seconds)
        for item in found.items:
            yield _in_three_channels(item)

    def close(self) -> None:
        self._workers.close()
        self._here.close()


class _Group:
    """Files that are sent together, and what comes back of them."""

    def __init__(self) -> None:
        self.tasks: list[Task] = []
        self.future: Future[list[Decoded]] | None = None


class ProcessJob:
    """One file's place in a group."""

    def __init__(self, decoders: ProcessDecoders, group: _Group, index: int) -> None:
        self._decoders, self._group, self._index = decoders, group, index

    def items(self) -> Iterator[Item]:
        return self._decoders.take(self._group, self._index)


# What a decoding process knows.
_known: tuple[DecodeOptions, tuple[Preprocess, ...]]


def _know(options: DecodeOptions, preprocesses: tuple[Preprocess, ...]) -> None:
    """Remember, in a new process, what it decodes with."""
    global _known
    _known = options, preprocesses


def _decode_group(tasks: Sequence[Task]) -> list[Decoded]:
    return [_decoded(ref, records) for ref, records in tasks]


def _decoded(ref: ImageRef, records: Sequence[FileRecord | None]) -> Decoded:
    options, preprocesses = _known
    seconds: list[float] = []
    inputs = partial(inputs_of, preprocesses, records)
    try:
        made = items_of(ref, partial(_decode_few, options), inputs, seconds.append)
        items = [_slim(item, preprocesses) for item in made]
    except _ManyFramesError:
        return Decoded(None, sum(seconds))
    return Decoded(items, sum(seconds))


def _slim(item: Item, preprocesses: Sequence[Preprocess]) -> Item:
    """One channel of three equal ones, of which two need not be brought over; models that share values still do."""
    if isinstance(item, Frame):
        values = zip(item.pixel_values, preprocesses, strict=True)
        grey = {id(v): v[:1] for v, each in values if v is not None and each.is_grey}
        item.pixel_values = [grey.get(id(v), v) for v in item.pixel_values]
    return item


def _in_three_channels(item: Item) -> Item:
    """Put back what `_slim` left out."""
    if isinstance(item, Frame):
        whole = {id(v): np.broadcast_to(v, (3, *v.shape[1:])) for v in item.pixel_values if v is not None}
        item.pixel_values = [whole.get(id(v)) for v in item.pixel_values]
    return item


def _decode(options: DecodeOptions, path: str) -> Iterator[Radiograph]:
    return decode(Path(path), options)


def _decode_few(options: DecodeOptions, path: str) -> Iterator[Radiograph]:
    for radiograph in decode(Path(path), options):
        if radiograph.n_frames > FRAMES_AHEAD:
            raise _ManyFramesError
        yield radiograph


class _ManyFramesError(BaseException):
    """The file is one for the parent; no Exception, which would become a failed row."""
