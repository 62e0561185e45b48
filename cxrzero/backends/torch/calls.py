"""One encoder on a GPU: calls of one size, in buffers that stay where they are.

    pinned ──copy──► device ──copy──► input ──steps, encoder──► output ──copy──► pinned
    └─── stream of copies ──┘ └────────────────── stream of arithmetic ──────────────┘

There are two of what is pinned and of what is copied to: while one call computes, the rows of the next are written and
copied. Films that are to be fitted on the GPU
(`cxrzero.backends.torch.fit`) are so on the stream of copies, instead of the first copy. Input and output have one
address, so that the work between is recorded once, as a CUDA graph, and then started
as a whole: started one by one from Python, operators in half precision take longer to start than to run.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cxrzero.backends.base import CUDA_CALLS, first_line, ran_out_of_memory
from cxrzero.backends.calls import Rows, encode_in_calls, fill
from cxrzero.backends.torch.cuda import Cuda, Event, Work
from cxrzero.backends.torch.fit import Fitter
from cxrzero.backends.torch.values import on_device
from cxrzero.model.values import ValueSteps

Encode = Callable[[Tensor], Tensor]


@dataclass(slots=True)
class _Call:
    """One of the two under way.

    Attributes:
        rows, embeds: (size, …) in pinned memory, what goes in and what comes back.
        there: the rows on the GPU.
        copied: the rows are there.
        done: the embeddings are here, and all buffers of the call are free.
    """

    rows: Tensor
    there: Tensor
    embeds: Tensor
    copied: Event
    done: Event


class Calls:
    """Encodes rows of one kind in calls of one size; see the module.

    Args:
        encode: on the device, (size, …) → (size, …, D), always with the same operators.
        size: rows of a call.
        row: shape and type of a row that is given.
        steps: what is done with 8-bit pictures before they are encoded; None gives rows to the encoder as they are.
        graph: whether to record the work.

    Attributes:
        refusal: why the work could not be recorded, so that operators are started one by one; None if it was.

    Raises:
        Whatever a first run raises; nothing is under way on the GPU then.
    """

    @torch.inference_mode()
    def __init__(
        self,
        cuda: Cuda,
        encode: Encode,
        size: int,
        row: tuple[tuple[int, ...], torch.dtype],
        steps: ValueSteps | None = None,
        *,
        graph: bool = True,
    ) -> None:
        self.size = size
        self._copies, self._arithmetic = cuda.copies, cuda.arithmetic
        shape, dtype = (size, *row[0]), row[1]
        self._input = cuda.memory(shape, dtype)
        compute = encode if steps is None else _after(on_device(steps, row[0], cuda.device), encode)
        self._output = cuda.memory(self._first_run(compute), torch.float32)
        self.refusal: str | None = None
        self._work = self._recorded(cuda, compute, graph)
        self._calls = [
            _Call(
                cuda.pinned(shape, dtype),
                cuda.memory(shape, dtype),
                cuda.pinned(tuple(self._output.shape), torch.float32),
                cuda.event(),
                cuda.event(),
            )
            for _ in range(CUDA_CALLS)
        ]

    @torch.inference_mode()
    def __call__(self, rows: Rows, fit: Fitter | None = None) -> npt.NDArray[np.float32]:
        """N rows → (N, …, D), in their order; with `fit`, films of which it makes the rows on the device."""
        return encode_in_calls(rows, self.size, partial(self._start, fit), self._finish)

    def close(self) -> None:
        """Wait for the work that is under way, after which the memory may go."""
        with contextlib.suppress(RuntimeError):  # of work that failed: who closes knows it
            self._copies.finish()
            self._arithmetic.finish()

    def _start(self, fit: Fitter | None, number: int, rows: Rows) -> None:
        """Queue all work of a call, whose buffers nobody uses."""
        call = self._calls[number]
        if fit is None:
            fill(call.rows.numpy(), rows)
            self._copies.copy(call.there, call.rows)
        else:
            self._copies.run(partial(_fill_fitted, call.there, fit, rows))
        self._copies.mark(call.copied)
        self._arithmetic.wait_for(call.copied)
        self._arithmetic.copy(self._input, call.there)
        self._arithmetic.run(self._work)
        self._arithmetic.copy(call.embeds, self._output)
        self._arithmetic.mark(call.done)

    def _finish(self, number: int) -> npt.NDArray[np.float32]:
        """Wait for a call and take its embeddings."""
        self._calls[number].done.finish()
        return self._calls[number].embeds.numpy().copy()

    def _first_run(self, compute: Encode) -> tuple[int, ...]:
        """Run it once, where it will run: it chooses algorithms and takes memory for its libraries.

        Returns:
            The shape of the output.
        """
        shapes: list[tuple[int, ...]] = []
        self._arithmetic.run(lambda: shapes.append(tuple(compute(self._input).shape)))
        self._arithmetic.finish()
        return shapes[0]

    def _recorded(self, cuda: Cuda, compute: Encode, graph: bool) -> Work:
        def work() -> None:
            self._output.copy_(compute(self._input))

        if graph:
            try:
                return cuda.record(work, self._arithmetic)
            except RuntimeError as error:
                # What breaks off the work also breaks off the recording, which has an error of its own.
                cause = error.__context__ if isinstance(error.__context__, RuntimeError) else error
                if ran_out_of_memory(cause):
                    raise cause from None
                self.refusal = first_line(cause)
        return work


def _fill_fitted(places: Tensor, fit: Fitter, films: Rows) -> None:
    """As `fill` does, on the device and of films. Torch keeps their pinned memory until it is copied."""
    places[: len(films)].copy_(fit(films))
    places[len(films) :].copy_(places[:1])


def _after(steps: Encode, encode: Encode) -> Encode:
    return lambda fitted: encode(steps(fitted))
