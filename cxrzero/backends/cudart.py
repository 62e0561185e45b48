"""The little of CUDA's runtime that copies need, called without a framework: memory, streams, events.

A stream is a queue of work on the GPU. An event marks a place in a queue: another stream, or this process, can wait
until the work before it is done. Nothing here waits unless it says so.
"""

from __future__ import annotations

import ctypes
import math
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

NON_BLOCKING = 1  # a stream that does not wait for the default one
BLOCKING_SYNC, DISABLE_TIMING = 1, 2  # an event for which a thread waits asleep: the decoders need the processor
DEFAULT_DIRECTION = 4  # of a copy: the addresses say where they are
PORTABLE = 1  # pinned memory of every GPU


def load_runtime(name: str) -> Any:
    """CUDA's runtime library by its file name, which must be loaded or in the system's path."""
    library = ctypes.CDLL(name)
    library.cudaGetErrorString.restype = library.cudaGetErrorName.restype = ctypes.c_char_p
    return library


class CudaError(RuntimeError):
    """A call of CUDA failed; backends turn it into an error of this package, or into smaller calls."""


class Memory:
    """Bytes on the GPU or pinned ones of this process, freed when nobody has them any more."""

    def __init__(self, address: int, size: int, free: Callable[[], object]) -> None:
        self.address, self.size = address, size
        self._freed = weakref.finalize(self, free)
        self._freed.atexit = False  # the driver frees them

    def free(self) -> None:
        self._freed()


class Cuda:
    """One GPU.

    Args:
        library: see `load_runtime`.
        number: of the GPU, as CUDA counts.

    Attributes:
        place: what ONNX Runtime calls it, kind and number.
    """

    def __init__(self, library: Any, number: int = 0) -> None:
        self._library, self.number = library, number
        self.place = "cuda", number

    def stream(self) -> Stream:
        return Stream(self)

    def event(self) -> Event:
        return Event(self)

    def memory(self, size: int) -> Memory:
        """Bytes on the GPU, all zero."""
        address = ctypes.c_void_p()
        self._call("cudaMalloc", ctypes.byref(address), ctypes.c_size_t(size))
        found = Memory(address.value or 0, size, lambda: self._release("cudaFree", address))
        self._call("cudaMemset", address, 0, ctypes.c_size_t(size))
        self._call("cudaDeviceSynchronize")
        return found

    def pinned(self, shape: tuple[int, ...], dtype: Any) -> Pinned:
        """An array of zeros that the GPU reads and writes by itself, at the full speed of the bus."""
        size = math.prod(shape) * np.dtype(dtype).itemsize
        address = ctypes.c_void_p()
        self._call("cudaHostAlloc", ctypes.byref(address), ctypes.c_size_t(size), PORTABLE)
        memory = Memory(address.value or 0, size, lambda: self._release("cudaFreeHost", address))
        return Pinned(memory, shape, dtype)

    def _call(self, name: str, *arguments: Any) -> None:
        """Call a function for this GPU; CUDA has a current one for each thread.

        Raises:
            CudaError: it failed.
        """
        for function, given in (("cudaSetDevice", (self.number,)), (name, arguments)):
            if code := getattr(self._library, function)(*given):
                self._library.cudaGetLastError()  # or the next call reports it again
                words = self._library.cudaGetErrorString(code), self._library.cudaGetErrorName(code)
                text, kind = (word.decode(errors="replace") for word in words)
                raise CudaError(f"CUDA: {text} ({kind} in {function})")

    def _release(self, name: str, handle: Any) -> None:
        """Give back what a finaliser lets go, which has nobody to tell of a failure but the next call."""
        self._library.cudaSetDevice(self.number)
        getattr(self._library, name)(handle)


class Pinned:
    """Pinned memory as an array; the array must not outlive it."""

    def __init__(self, memory: Memory, shape: tuple[int, ...], dtype: Any) -> None:
        self._memory = memory
        raw = (ctypes.c_uint8 * memory.size).from_address(memory.address)
        self.array: npt.NDArray[Any] = np.frombuffer(memoryview(raw), np.uint8).view(dtype).reshape(shape)
        self.array[...] = 0

    @property
    def address(self) -> int:
        return self._memory.address

    @property
    def size(self) -> int:
        return self._memory.size

    def free(self) -> None:
        self._memory.free()


class Stream:
    """A queue of work, first in, first out.

    Attributes:
        handle: CUDA's own.
    """

    def __init__(self, cuda: Cuda) -> None:
        made = ctypes.c_void_p()
        cuda._call("cudaStreamCreateWithFlags", ctypes.byref(made), NON_BLOCKING)
        self._cuda, self.handle = cuda, made.value or 0
        released = weakref.finalize(self, cuda._release, "cudaStreamDestroy", made)
        released.atexit = False

    def copy(self, to: Memory | Pinned, source: Memory | Pinned) -> None:
        """Queue a copy of all bytes of `source`, which must stay as they are until it is done."""
        self._cuda._call(
            "cudaMemcpyAsync",
            ctypes.c_void_p(to.address),
            ctypes.c_void_p(source.address),
            ctypes.c_size_t(source.size),
            DEFAULT_DIRECTION,
            ctypes.c_void_p(self.handle),
        )

    def mark(self, event: Event) -> None:
        """Move the event here, behind all that is queued."""
        self._cuda._call("cudaEventRecord", event.handle, ctypes.c_void_p(self.handle))

    def wait_for(self, event: Event) -> None:
        """Queue nothing more before the work that the event marks is done; an event that was never moved is done."""
        self._cuda._call("cudaStreamWaitEvent", ctypes.c_void_p(self.handle), event.handle, 0)

    def finish(self) -> None:
        """Wait, in this thread, until nothing is queued."""
        self._cuda._call("cudaStreamSynchronize", ctypes.c_void_p(self.handle))


class Event:
    """A mark in a queue."""

    def __init__(self, cuda: Cuda) -> None:
        self._cuda, self.handle = cuda, ctypes.c_void_p()
        cuda._call("cudaEventCreateWithFlags", ctypes.byref(self.handle), BLOCKING_SYNC | DISABLE_TIMING)
        released = weakref.finalize(self, cuda._release, "cudaEventDestroy", self.handle)
        released.atexit = False

    def finish(self) -> None:
        """Wait, in this thread, until the work before the mark is done."""
        self._cuda._call("cudaEventSynchronize", self.handle)
