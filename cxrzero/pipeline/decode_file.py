"""From one file to its frames, each with the encoders' inputs; and that on its way through a decoding thread."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from queue import Full, Queue
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt
import xxhash

from cxrzero.errors import CxrzeroError, ImageError
from cxrzero.images.radiograph import Radiograph
from cxrzero.pipeline.items import Failure, Frame, Input, Item
from cxrzero.sources import ImageRef, identity_of

# Of a picture's content, see `digest_of`; part of every cache key, since records hold it.
DIGEST = "xxh3_64"
# Frames of one file that may wait in memory; a multi-frame file of thousands then needs no more than a single image.
FRAMES_AHEAD = 4

T = TypeVar("T")

Decode = Callable[[ImageRef], Iterator[Radiograph]]
# (pixels, frame, digest) → for each model encoder input or None, and the embedding that is there, see
# `cxrzero.pipeline.embedder`.
InputsOf = Callable[[npt.NDArray[np.uint8], int, int], tuple[list[Input | None], list[bytes]]]


def items_of(ref: ImageRef, decode: Decode, inputs: InputsOf, add_seconds: Callable[[float], None]) -> Iterator[Item]:
    """A file's frames one by one, and at the end a failure if there is one; what goes wrong in it is never raised.

    Args:
        inputs: what the encoders need of a picture.
        add_seconds: is given the time that each of them took.

    Raises:
        CxrzeroError: what is wrong is not the file.
    """
    if ref.error is not None:
        yield Failure(ref, ref.error)
        return
    frame = None
    started = time.perf_counter()
    try:
        for radiograph in decode(ref):
            frame = radiograph.frame
            digest = digest_of(radiograph.pixels)
            found = inputs(radiograph.pixels, frame, digest)
            item = Frame(ref, frame, radiograph.facts, radiograph.flags, digest, *found)
            item.is_last = frame == radiograph.n_frames
            item.is_unchanged = item.is_last and _is_unchanged(ref)
            add_seconds(time.perf_counter() - started)
            yield item
            started = time.perf_counter()
    except ImageError as error:
        add_seconds(time.perf_counter() - started)
        yield Failure(ref, error, None if frame is None else frame + 1, _is_unchanged(ref))
    except CxrzeroError:
        raise
    except Exception as error:  # one strange file must not end a run over a million; the row says what it was
        yield Failure(ref, unforeseen(error))


def unforeseen(error: Exception) -> ImageError:
    """What a decoder raised and should not have, without its words, which may quote the file."""
    code = "out_of_memory" if isinstance(error, MemoryError) else "unexpected"
    return ImageError(code, f"{type(error).__name__} while the file was decoded")


class DecodeJob(Generic[T]):
    """One file on its way through a decoding thread.

    Args:
        made: its frames and failures, such as `items_of`; worked off in that thread.
        stop: set when the run is over.

    Jobs start in order, so the oldest one, whose frames are being taken, always runs: a younger one that waits with a
    full queue cannot block it.
    """

    def __init__(self, made: Iterator[T], stop: threading.Event) -> None:
        self._made = made
        self._stop = stop
        self._queue: Queue[T | BaseException | None] = Queue(FRAMES_AHEAD)

    def items(self) -> Iterator[T]:
        while (item := self._queue.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item

    def run(self) -> None:
        try:
            for item in self._made:
                self._put(item)
            self._put(None)
        except _StoppedError:
            return
        except BaseException as error:  # handed to the thread that reads the queue, which raises it
            self._put(error)

    def _put(self, item: T | BaseException | None) -> None:
        while not self._stop.is_set():
            try:
                self._queue.put(item, timeout=0.2)
            except Full:
                continue
            return
        raise _StoppedError


def _is_unchanged(ref: ImageRef) -> bool:
    """Whether the file that was just read is still the one that was found, so that its record may be kept."""
    if isinstance(ref.identity, bytes):
        return True  # its reader has compared
    if ref.picture is not None:
        return ref.content is not None  # which was made of what is in memory
    try:
        return ref.identity is not None and identity_of(os.stat(ref.path)) == ref.identity
    except OSError:
        return False


def digest_of(pixels: npt.NDArray[np.uint8]) -> int:
    """64 bits of a picture's content: among a million pictures two different ones collide with p = 3e-8.

    Equal pictures are worth a flag, not a proof: XXH3 takes a fiftieth of the time of a cryptographic digest, and
    whoever wants two pictures to collide can make them so.

    Args:
        pixels: (H, W) uint8.
    """
    height, width = pixels.shape
    return xxhash.xxh3_64_intdigest(np.ascontiguousarray(pixels).data, seed=height << 32 | width)


class _StoppedError(Exception):
    """The run is over; the decoding thread has nobody to hand its frames to."""
