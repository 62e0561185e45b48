"""What flows through the pipeline: frames and failures, in the order of the files; and what is counted on the way."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from cxrzero.errors import ImageError, SkippedImage
from cxrzero.images.radiograph import Facts
from cxrzero.sources import ImageRef

# What an encoder takes of a frame: pixel_values (3, height, width) float32, or the fitted picture (h, w) uint8, of
# which it makes them itself; or the picture (H, W) uint8, which it also fits.
Input = npt.NDArray[np.float32] | npt.NDArray[np.uint8]
# (H, W) uint8 → what the encoder takes; called from several threads. Models that preprocess alike share one.
Preprocessing = Callable[[npt.NDArray[np.uint8]], Input]


@dataclass(slots=True)
class RunStats:
    """What a run did, filled while it goes on.

    Attributes:
        ok, failed, skipped: rows by status.
        decode_seconds: summed over all decoding threads or processes, so it may exceed the wall time.
        encode_seconds: wall time of the encoder.
        cached, embedded: embeddings of scored frames that were there already, and those that an encoder made; in an
            ensemble each frame has one of each model.
        hashed: files that were read to know their content.
    """

    ok: int = 0
    failed: int = 0
    skipped: int = 0
    cached: int = 0
    embedded: int = 0
    hashed: int = 0
    decode_seconds: float = 0.0
    encode_seconds: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @property
    def rows(self) -> int:
        return self.ok + self.failed + self.skipped

    def count(self, status: str) -> None:
        if status == "ok":
            self.ok += 1
        elif status == "failed":
            self.failed += 1
        else:
            self.skipped += 1

    def add_decode(self, seconds: float) -> None:
        with self._lock:
            self.decode_seconds += seconds


@dataclass(slots=True)
class Frame:
    """A frame without its full-size pixels, unless a model takes them: only `digest` still stands for them.

    Attributes:
        inputs: for each model what its encoder takes, or None where the cache had the embedding; empty when nothing is
            left to encode.
        embeddings: for each model what its encoder gave, as bytes (`Embedder.dtype`); empty until it was encoded.
        flags: with "duplicate" once the frame has been compared with those before it; own_flags stay without.
        is_known: its file came from the cache.
        is_last, is_unchanged: set on a decoded file's last frame, when the file is still what it was when found.
        left_out: why the user's selection does not want it.
    """

    ref: ImageRef
    frame: int
    facts: Facts
    own_flags: frozenset[str]
    digest: int
    inputs: list[Input | None] = field(default_factory=list)
    embeddings: list[bytes] = field(default_factory=list)
    is_known: bool = False
    is_last: bool = False
    is_unchanged: bool = False
    flags: frozenset[str] = frozenset()
    left_out: SkippedImage | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """A file or frame that is not scored, and why."""

    ref: ImageRef
    error: ImageError
    frame: int | None = None
    is_unchanged: bool = False


Item = Frame | Failure


def needs_encoder(item: Item) -> bool:
    """Whether an embedding of it is wanted and not there yet."""
    if isinstance(item, Failure) or not item.inputs:
        return False
    return any(each is not None for each in item.inputs)
