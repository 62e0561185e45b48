"""JPEG 2000 films decoded on a GPU (--gpu-decode) beside the processor: the same bits, and how many a second.

    python benchmarks/gpu_decode.py [--seconds 60] [--rows 2048] [--columns 1792]

Films with a detector's noise, losslessly compressed. `frames` are streams to arrays in the process's memory, `films`
files to 8-bit grey. On the GPU threads of one process share it, on the processor every core has a process of its own,
for whose rate --seconds counts too. Broken streams are counted by what each says of them. Each line is written at once.
"""

from __future__ import annotations

import argparse
import collections
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.decode import film
from cxrzero.bench.machine import machine, versions
from cxrzero.images import decode
from cxrzero.images.codecs import FrameShape, decode_frame
from cxrzero.images.nvjpeg2000 import GpuFrames
from tests.support.dicomfile import SYNTAXES, dicom_bytes, encapsulate, encode_frame

KINDS = {f"JPEG 2000, {bits} bits": ("jpeg2000_lossless", bits) for bits in (12, 16, 8)}
THREADS = (1, 8, 16, 32, 64)
BROKEN = 60


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0, help="for all rates together")
    parser.add_argument("--rows", type=int, default=2048)
    parser.add_argument("--columns", type=int, default=1792)
    args = parser.parse_args()
    print(machine(), versions(), flush=True)
    cores = len(os.sched_getaffinity(0))
    context = multiprocessing.get_context("spawn")
    each = args.seconds / (len(KINDS) * (2 + len(THREADS)))
    with tempfile.TemporaryDirectory() as folder, context.Pool(cores) as processes:
        gpu = GpuFrames()
        print("the GPU decodes drawn frames of every kind to the bits that were encoded", flush=True)
        for name, (syntax, bits) in KINDS.items():
            pixels = film(args.rows, args.columns, bits)
            path, stream = Path(folder) / f"{syntax}{bits}.dcm", encode_frame(pixels, syntax, bits)
            path.write_bytes(dicom_bytes(encapsulate([stream]), syntax, **header(pixels, bits)))
            shape = FrameShape(args.rows, args.columns, 1, 8 * pixels.dtype.itemsize)
            on_gpu = gpu(stream, SYNTAXES[syntax], shape)
            same = "equal" if np.array_equal(on_gpu.samples, pixels) else "NOT EQUAL"
            print(f"{name}, {len(stream) / 1e6:.1f} MB: {on_gpu.decoder}, {same} to what was encoded", flush=True)
            rates = processes.starmap(_rate, [(path, each)] * cores, chunksize=1)
            print(f"  processor, {cores} processes: films {sum(rates):.1f}/s", flush=True)
            for threads in THREADS:
                frames = shared(partial(gpu, stream, SYNTAXES[syntax], shape), threads, each / 2)
                films = shared(lambda path=path: next(decode(path, None, gpu)), threads, each / 2)
                print(f"  GPU, {threads} threads: frames {frames}, films {films}", flush=True)
            print(f"  broken streams, (processor, GPU): {broken(gpu, syntax, bits)}", flush=True)
        print(f"frames decoded on the GPU: {gpu.on_gpu:,}, on the processor: {gpu.on_cpu:,}")


def header(pixels: np.ndarray, bits: int) -> dict[str, int]:
    return {"Rows": pixels.shape[0], "Columns": pixels.shape[1], "BitsAllocated": 8 * pixels.dtype.itemsize,
            "BitsStored": bits, "HighBit": bits - 1, "PixelRepresentation": 0,
            "WindowCenter": 2 ** (bits - 1), "WindowWidth": 2**bits}  # fmt: skip


def _rate(path: Path, seconds: float) -> float:
    next(decode(path))
    started, count = time.perf_counter(), repeated(lambda: next(decode(path)), time.perf_counter() + seconds)
    return count / (time.perf_counter() - started)


def repeated(action: Callable[[], object], end: float) -> int:
    """How often it was done until then, at least once."""
    count = 0
    while not count or time.perf_counter() < end:
        action()
        count += 1
    return count


def shared(action: Callable[[], object], threads: int, seconds: float) -> str:
    """Rate of all threads together, and the processor time that each takes."""
    action()
    started, used = time.perf_counter(), time.process_time()
    with ThreadPoolExecutor(threads) as pool:
        count = sum(pool.map(lambda _: repeated(action, started + seconds), range(threads)))
    rate = count / (time.perf_counter() - started)
    return f"{rate:.0f}/s ({1000 * (time.process_time() - used) / count:.1f} core-ms)"


def broken(gpu: GpuFrames, name: str, bits: int) -> dict[tuple[str, str], int]:
    """What the two say of streams with a bit flipped, or bytes zeroed, in their pixels."""
    rng, found = np.random.default_rng(0), collections.Counter[tuple[str, str]]()
    whole = film(512, 448, bits)
    stream, syntax = encode_frame(whole, name, bits), SYNTAXES[name]
    shape = FrameShape(512, 448, 1, 8 * whole.dtype.itemsize)
    for number in range(BROKEN):
        damaged = bytearray(stream)
        at = int(rng.integers(200, len(stream) - 200))
        if number % 2:
            damaged[at] ^= 1 << int(rng.integers(8))
        else:
            damaged[at : at + 100] = bytes(100)
        before, answers = gpu.on_gpu, []
        for decoder in (decode_frame, gpu):
            try:
                differs = (decoder(bytes(damaged), syntax, shape, None).samples != whole).mean()
                answers.append("whole" if differs == 0 else "under 5% differ" if differs < 0.05 else "over 5% differ")
            except Exception as error:
                answers.append(getattr(error, "code", type(error).__name__))
        found[answers[0], answers[1] if gpu.on_gpu > before else f"{answers[1]}, by the processor"] += 1
    return dict(found)


if __name__ == "__main__":
    main()
