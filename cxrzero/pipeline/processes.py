"""Files decoded in processes, for machines on which threads would wait for each other (see `cxrzero.pipeline.threads`).

Files go out in groups and come back as their frames, in the order in which they went. What an encoder takes of a file's
first frame comes through shared memory (`cxrzero.pipeline.slots`) if a slot is free; the rest is sent, and no film is
sent whole (`cxrzero.pipeline.films`). A file of many frames is not brought over whole: it is decoded here, frame by
frame, so that memory stays flat.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from functools import partial
from typing import NamedTuple, cast

import numpy as np

from cxrzero.cache.images import FileRecord
from cxrzero.images.radiograph import Radiograph
from cxrzero.model.preprocess import Preprocess
from cxrzero.pipeline.decode_file import FRAMES_AHEAD, Decode, items_of
from cxrzero.pipeline.embedder import inputs_of
from cxrzero.pipeline.films import Films, all_fitted
from cxrzero.pipeline.items import Frame, Input, Item, Preprocessing, RunStats
from cxrzero.pipeline.slots import Place, Slots, has_room
from cxrzero.pipeline.threads import Expect, ThreadDecoders, expect_nothing
from cxrzero.pipeline.workers import Advice, Workers, most_workers
from cxrzero.sources import ImageRef

# Files of one message: each costs the two processes that it wakes more than a small film's frame.
GROUP = 4
ADVICE = Advice("--workers", "--decode-in threads", 'decode_in="threads"')


class Task(NamedTuple):
    """One file for a process.

    Attributes:
        records: what each model's cache knows of it.
        slot: for its first frame's inputs; None where none was free.
    """

    ref: ImageRef
    records: Sequence[FileRecord | None]
    slot: int | None


class Decoded(NamedTuple):
    """What a process made of one file.

    Attributes:
        items: None for a file of more than FRAMES_AHEAD frames, which it leaves alone.
        seconds: that it took.
        places: of the first frame's inputs in shared memory; None where the frame has them.
    """

    items: list[Item] | None
    seconds: float
    places: list[Place | None] | None = None


class ProcessDecoders:
    """Processes that are started when files wait, `workers` at most; see `cxrzero.pipeline.threads.Decoders`.

    Files go out in groups of GROUP. While fewer groups than workers are out, each file goes out at once, so that a few
    files are shared by all processes; `ahead` files keep all of them busy with full groups.

    Args:
        decode: film → frames; it is pickled.
        preprocessings: of each model; equal ones are one object.
        workers: how many.
        stats: is told how long decoding took.
        waiting: files that may wait for the encoder, beside the `ahead` files.
        expect: is told, in its process, of all films of a group before the first is decoded; it is pickled.

    Raises:
        RunError: from all that sends or takes files: this system has no means for processes, or one of them ended.
    """

    def __init__(
        self,
        decode: Decode,
        preprocessings: Sequence[Preprocessing],
        workers: int,
        stats: RunStats,
        waiting: int = 0,
        expect: Expect = expect_nothing,
    ) -> None:
        self._most = most_workers(workers)
        self.ahead = self._most * GROUP
        count, for_films = self.ahead + waiting, any(isinstance(each, Films) for each in preprocessings)
        if for_films and not has_room(count, _bytes_of_frame(preprocessings)):
            preprocessings, for_films = all_fitted(preprocessings), False
        self._slots = Slots(count, _bytes_of_frame(preprocessings), for_films=for_films)
        self._workers = Workers(self._most, ADVICE, _know, (decode, tuple(preprocessings), self._slots, expect))
        self._stats = stats
        self._here = ThreadDecoders(decode, preprocessings, 1, stats)
        self._group = _Group()
        self._out = 0  # groups that were sent and not taken to their end

    def submit(self, ref: ImageRef, records: Sequence[FileRecord | None]) -> ProcessJob:
        group = self._group
        group.tasks.append(Task(ref, records, self._slots.take()))
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
        ref, records, slot = group.tasks[index]
        found = self._workers.result(self.send(group))[index]
        self._out -= index == len(group.tasks) - 1
        if found.places is not None and found.items and isinstance(found.items[0], Frame):
            found.items[0].inputs = self._slots.get(found.places)
        self._slots.give_back(slot)
        if found.items is None:
            yield from self._here.submit(ref, records).items()
            return
        self._stats.add_decode(found.seconds)
        for item in found.items:
            yield _in_three_channels(item)

    def close(self) -> None:
        self._workers.close()
        self._here.close()
        self._slots.close()


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
_known: tuple[Decode, tuple[Preprocessing, ...], Slots, Expect]


def _know(
    decode: Decode, preprocessings: tuple[Preprocessing, ...], slots: Slots, expect: Expect = expect_nothing
) -> None:
    """Remember, in a new process, what it decodes with."""
    global _known
    _known = decode, preprocessings, slots, expect


def _decode_group(tasks: Sequence[Task]) -> list[Decoded]:
    for task in tasks:
        _known[-1](task.ref)
    return [_decoded(task) for task in tasks]


def _decoded(task: Task) -> Decoded:
    decode, preprocessings, slots, _ = _known
    seconds: list[float] = []
    inputs = partial(inputs_of, preprocessings if task.slot is not None else all_fitted(preprocessings), task.records)
    items: list[Item] = []
    places = None
    try:
        for item in items_of(task.ref, partial(_decode_few, decode), inputs, seconds.append):
            if isinstance(item, Frame):
                item.inputs = _slim(item.inputs, preprocessings)
                if not items and task.slot is not None and (places := slots.put(task.slot, item.inputs)) is not None:
                    item.inputs = []
            items.append(item)
    except _ManyFramesError:
        return Decoded(None, sum(seconds))
    return Decoded(items, sum(seconds), places)


def _slim(inputs: Sequence[Input | None], preprocessings: Sequence[Preprocessing]) -> list[Input | None]:
    """One channel of three equal ones, of which two need not be brought over; models that share values still do."""
    pairs = zip(inputs, preprocessings, strict=True)
    grey: dict[int, Input] = {id(v): v[:1] for v, preprocessing in pairs if v is not None and _is_grey(preprocessing)}
    return [grey.get(id(each), each) for each in inputs]


def _in_three_channels(item: Item) -> Item:
    """Put back what `_slim` left out; a fitted picture, (h, w), has no channels."""
    if isinstance(item, Frame):
        slim = {id(each): each for each in item.inputs if each is not None and each.ndim == 3}
        whole = {key: cast(Input, np.broadcast_to(v, (3, *v.shape[1:]))) for key, v in slim.items()}
        item.inputs = [whole.get(id(each), each) for each in item.inputs]
    return item


def _bytes_of_frame(preprocessings: Sequence[Preprocessing]) -> int:
    """What a frame's inputs take when no model has its embedding."""
    films = max((each.most_bytes for each in preprocessings if isinstance(each, Films)), default=0)  # all share one
    least = np.zeros((3, 2), np.uint8)  # all that are fitted become as large
    fitted = (each for each in set(preprocessings) if not isinstance(each, Films))
    return films + sum(each(least).nbytes // (3 if _is_grey(each) else 1) for each in fitted)


def _is_grey(preprocessing: Preprocessing) -> bool:
    return isinstance(preprocessing, Preprocess) and preprocessing.is_grey


def _decode_few(decode: Decode, ref: ImageRef) -> Iterator[Radiograph]:
    for radiograph in decode(ref):
        if radiograph.n_frames > FRAMES_AHEAD:
            raise _ManyFramesError
        yield radiograph


class _ManyFramesError(BaseException):
    """The file is one for the parent; no Exception, which would become a failed row."""
