"""CUDA's runtime, pretended: the functions that `cxrzero.backends.cudart` calls, in this process's own memory.

What is queued on a stream is done as late as it may be: when somebody waits for it. A stream that is `eager` does it at
once, as far as what it waits for allows. So whoever writes to memory too early, or reads it before it waited, gets
another result under one of the two.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime

from cxrzero.backends.cudart import Cuda
from cxrzero.backends.ort_session import TowerSession

OUT_OF_MEMORY = 2
TEXTS = {
    OUT_OF_MEMORY: (b"cudaErrorMemoryAllocation", b"out of memory"),
    101: (b"cudaErrorInvalidDevice", b"invalid device ordinal"),
}


class Runtime:
    """Pretends to be libcudart.

    Attributes:
        used: bytes on the GPU.
        log: what was queued and waited for, in order.
        threads: that called.
    """

    def __init__(self, memory: int = 2**40, eager: tuple[int, ...] = (), gpus: int = 1) -> None:
        self.used, self.log, self.threads = 0, list[str](), set[int]()
        self._limit, self._eager, self._gpus = memory, eager, gpus
        self._arrays: dict[int, np.ndarray] = {}
        self._queues: dict[int, list[Callable[[], object]]] = {}
        self._done: dict[int, int] = {}
        self._marks: dict[int, tuple[int, int]] = {}

    def queue(self, stream: int, name: str, work: Callable[[], object]) -> None:
        self.log.append(name)
        self._queues[stream].append(work)
        if stream in self._eager:
            self.run(stream)

    def run(self, stream: int, until: int | None = None) -> None:
        """Do what is queued there, or the first `until` pieces of it."""
        while self._done[stream] < (len(self._queues[stream]) if until is None else until):
            self._done[stream] += 1
            self._queues[stream][self._done[stream] - 1]()

    # ruff: noqa: N802 (CUDA's names)
    def cudaSetDevice(self, number: int) -> int:
        self.threads.add(threading.get_ident())
        return 0 if number < self._gpus else 101

    def cudaGetLastError(self) -> int:
        return 0

    def cudaGetErrorName(self, code: int) -> bytes:
        return TEXTS[code][0]

    def cudaGetErrorString(self, code: int) -> bytes:
        return TEXTS[code][1]

    def cudaMalloc(self, address: Any, size: Any) -> int:
        if self.used + size.value > self._limit:
            return OUT_OF_MEMORY
        self.used += size.value
        return self.cudaHostAlloc(address, size, 0)

    def cudaHostAlloc(self, address: Any, size: Any, flags: int) -> int:
        made = np.full(size.value, 0xAA, np.uint8)
        address._obj.value = made.ctypes.data
        self._arrays[made.ctypes.data] = made
        return 0

    def cudaFree(self, address: Any) -> int:
        self.used -= self._arrays.pop(address.value).nbytes
        return 0

    def cudaFreeHost(self, address: Any) -> int:
        del self._arrays[address.value]
        return 0

    def cudaMemset(self, address: Any, value: int, size: Any) -> int:
        ctypes.memset(address.value, value, size.value)
        return 0

    def cudaDeviceSynchronize(self) -> int:
        for stream in self._queues:
            self.run(stream)
        return 0

    def cudaStreamCreateWithFlags(self, handle: Any, flags: int) -> int:
        handle._obj.value = len(self._queues) + 1
        self._queues[handle._obj.value], self._done[handle._obj.value] = [], 0
        return 0

    def cudaStreamDestroy(self, handle: Any) -> int:
        self.run(handle.value)
        return 0

    def cudaStreamSynchronize(self, handle: Any) -> int:
        self.run(handle.value)
        return 0

    def cudaMemcpyAsync(self, to: Any, source: Any, size: Any, direction: int, stream: Any) -> int:
        assert {to.value, source.value} <= set(self._arrays)
        self.queue(stream.value, "copy", lambda: ctypes.memmove(to.value, source.value, size.value))
        return 0

    def cudaEventCreateWithFlags(self, handle: Any, flags: int) -> int:
        handle._obj.value = len(self._marks) + 1
        self._marks[handle._obj.value] = (0, 0)
        return 0

    def cudaEventDestroy(self, handle: Any) -> int:
        return 0

    def cudaEventRecord(self, event: Any, stream: Any) -> int:
        self._marks[event.value] = (stream.value, len(self._queues[stream.value]))
        return 0

    def cudaStreamWaitEvent(self, stream: Any, event: Any, flags: int) -> int:
        mark = self._marks[event.value]
        self.queue(stream.value, "wait", lambda: self._reach(mark))
        return 0

    def cudaEventSynchronize(self, event: Any) -> int:
        self.log.append("finish")
        self._reach(self._marks[event.value])
        return 0

    def _reach(self, mark: tuple[int, int]) -> None:
        stream, position = mark
        if stream:
            self.run(stream, position)


class PretendedGpu(Cuda):
    """A GPU in this process's memory, which ONNX Runtime on a CPU can use."""

    def __init__(self, runtime: Runtime, number: int = 0) -> None:
        super().__init__(runtime, number)
        self.place = "cpu", 0


class QueuedSession:
    """A session on a CPU whose runs are queued on a stream, as those of a session on CUDA are.

    Args:
        rows: more than these do not fit into memory.
    """

    def __init__(
        self, session: onnxruntime.InferenceSession, runtime: Runtime, stream: int, rows: int | None = None
    ) -> None:
        self.real = session
        self._runtime, self._stream, self._rows = runtime, stream, rows

    def io_binding(self) -> Any:
        return self.real.io_binding()

    def run_with_iobinding(self, binding: Any, options: Any = None) -> None:
        size = self.real.get_inputs()[0].shape[0]
        if self._rows is not None and isinstance(size, int) and size > self._rows:
            raise RuntimeError("[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Failed to allocate memory for 1 byte")
        self._runtime.queue(self._stream, "run", lambda: self.real.run_with_iobinding(binding))
        if options is None:
            self._runtime.run(self._stream)


def queued(tower: TowerSession, runtime: Runtime, stream: int, rows: int | None = None) -> TowerSession:
    return TowerSession(QueuedSession(tower.session, runtime, stream, rows), tower.tower, tower.weights)
