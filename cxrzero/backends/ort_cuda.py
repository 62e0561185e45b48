"""ONNX Runtime's image encoder on a GPU: calls of one size, in buffers that stay where they are.

    pinned ──copy──► device ──prelude──► pixel_values ──encoder──► image_embeds ──copy──► pinned
    └──── stream of copies ┘ └──────────────────── stream of arithmetic ─────────────────────┘

There are two of what is pinned and of what is copied to: while one call computes, the pictures of the next are written
and copied. The encoder's own input and output have one address, which a CUDA graph needs: the work of a call is
recorded once and then started as a whole. All of it happens in the thread that made it: ONNX Runtime records a graph
for each thread that runs a session.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

from cxrzero.backends.base import CUDA_CALLS
from cxrzero.backends.calls import Rows, encode_in_calls, fill
from cxrzero.backends.cudart import Cuda, CudaError, Event, Memory, Pinned, Stream
from cxrzero.backends.ort_session import TowerSession
from cxrzero.backends.prelude import FITTED, PIXEL_VALUES, prelude
from cxrzero.model.values import ValueSteps

# Run returns when the work is queued; the events say when it is done.
UNSYNCHRONISED = ("disable_synchronize_execution_providers", "1")

OpenEncoder = Callable[[Stream], TowerSession]
OpenPrelude = Callable[[bytes, Stream], onnxruntime.InferenceSession]


@dataclass(frozen=True, slots=True)
class _Call:
    """One of the two under way.

    Attributes:
        embeds: (size, …), what comes back.
        copied: the pictures are on the GPU.
        done: the embeddings are here, and all buffers of the call are free.
    """

    embeds: Pinned
    copied: Event
    done: Event


@dataclass(frozen=True, slots=True)
class _Feed:
    """How pictures of one kind get to the encoder.

    Attributes:
        key: what they have in common.
        here, there: the pictures of each call, (size, …), in pinned memory and on the GPU.
        make: queue the work that makes pixel_values of those of a call.
    """

    key: tuple[Any, ...]
    here: Sequence[Pinned]
    there: Sequence[Memory]
    make: Callable[[int], None]


class ImageCalls:
    """Encodes images in calls of one size; see the module.

    Args:
        shape: of pixel_values in a call, (size, 3, H, W).
        row: shape of what a picture gives: (D,), or (T, D) tokens.
        open_encoder: a session of the image encoder on a stream.
        open_prelude: a session of the value steps on a stream.

    Raises:
        Whatever opening and a first run raise; nothing else is under way on the GPU then.
    """

    def __init__(
        self,
        cuda: Cuda,
        shape: tuple[int, int, int, int],
        row: tuple[int, ...],
        open_encoder: OpenEncoder,
        open_prelude: OpenPrelude,
    ) -> None:
        self.size = shape[0]
        self._cuda, self._shape, self._open_prelude = cuda, shape, open_prelude
        self._copies, self._arithmetic = cuda.stream(), cuda.stream()
        self._tower = open_encoder(self._arithmetic)
        self._session = self._tower.session
        self._pixels, self._embeds = (cuda.memory(4 * math.prod(each)) for each in (shape, (self.size, *row)))
        self._binding = self._session.io_binding()
        tower = self._tower.tower
        self._bind(self._binding.bind_input, tower.input, np.float32, shape, self._pixels)
        self._bind(self._binding.bind_output, tower.output, np.float32, (self.size, *row), self._embeds)
        self._calls = [
            _Call(cuda.pinned((self.size, *row), np.float32), cuda.event(), cuda.event()) for _ in range(CUDA_CALLS)
        ]
        self._feed: _Feed | None = None
        self._options = onnxruntime.RunOptions()
        self._options.add_run_config_entry(*UNSYNCHRONISED)
        # The first run takes memory, chooses algorithms and records the graph; it encodes black pictures.
        self._session.run_with_iobinding(self._binding)
        self._arithmetic.finish()

    def __call__(self, rows: Rows, steps: ValueSteps | None) -> npt.NDArray[np.float32]:
        """Encode pictures of one shape.

        Args:
            rows: N times (3, H, W) float32, or with steps N times (h, w) uint8.

        Returns:
            (N, …) float32, in the order of the rows.
        """
        start = partial(self._start, self._feed_for(rows[0].shape, steps))
        return encode_in_calls(rows, self.size, start, self._finish)

    def close(self) -> None:
        """Give back the GPU's memory, after the work that is under way."""
        with contextlib.suppress(CudaError):  # of work that failed: who closes knows it
            self._copies.finish()
            self._arithmetic.finish()
        self._feed = None
        del self._binding, self._session, self._tower  # before its stream
        self._pixels.free()
        self._embeds.free()
        for call in self._calls:
            call.embeds.free()

    def _start(self, feed: _Feed, number: int, rows: Rows) -> None:
        """Queue all work of a call, whose buffers nobody uses."""
        call = self._calls[number]
        fill(feed.here[number].array, rows)
        self._copies.copy(feed.there[number], feed.here[number])
        self._copies.mark(call.copied)
        self._arithmetic.wait_for(call.copied)
        feed.make(number)
        self._session.run_with_iobinding(self._binding, self._options)
        self._arithmetic.copy(call.embeds, self._embeds)
        self._arithmetic.mark(call.done)

    def _finish(self, number: int) -> npt.NDArray[np.float32]:
        self._calls[number].done.finish()
        return self._calls[number].embeds.array.copy()

    def _feed_for(self, shape: tuple[int, ...], steps: ValueSteps | None) -> _Feed:
        key = (shape, steps)
        if self._feed is None or self._feed.key != key:
            self._feed = None  # gives its memory back before more is taken
            self._feed = self._pictures(key, shape, steps) if steps else self._values(key)
        return self._feed

    def _values(self, key: tuple[Any, ...]) -> _Feed:
        """Of pixel_values as they are."""
        here, there = self._buffers(self._shape, np.float32)
        stream, pixels = self._arithmetic, self._pixels
        return _Feed(key, here, there, lambda call: stream.copy(pixels, there[call]))

    def _pictures(self, key: tuple[Any, ...], shape: tuple[int, ...], steps: ValueSteps) -> _Feed:
        """Of 8-bit pictures (h, w), whose steps run here."""
        height, width = shape
        here, there = self._buffers((self.size, 1, height, width), np.uint8)
        session = self._open_prelude(prelude(steps, (self.size, height, width)), self._arithmetic)
        bindings, options = [], self._options
        for memory in there:
            binding = session.io_binding()
            self._bind(binding.bind_input, FITTED, np.uint8, (self.size, 1, height, width), memory)
            self._bind(binding.bind_output, PIXEL_VALUES, np.float32, self._shape, self._pixels)
            bindings.append(binding)
        return _Feed(key, here, there, lambda call: session.run_with_iobinding(bindings[call], options))

    def _buffers(self, shape: tuple[int, ...], dtype: Any) -> tuple[list[Pinned], list[Memory]]:
        here = [self._cuda.pinned(shape, dtype) for _ in range(CUDA_CALLS)]
        return here, [self._cuda.memory(each.size) for each in here]

    def _bind(self, bind: Callable[..., None], name: str, dtype: Any, shape: Sequence[int], memory: Memory) -> None:
        bind(name, *self._cuda.place, dtype, list(shape), memory.address)
