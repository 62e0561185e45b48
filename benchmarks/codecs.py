"""Decoders of the same frame beside each other, all exact: what is to be had for JPEG 2000, HTJ2K, JPEG and PNG.

    python benchmarks/codecs.py [--repeats 7]

JPEG 2000 by OpenJPEG with several threads, HTJ2K by OpenJPEG and OpenJPH with what each says of broken streams, PNG by
three libraries and by its parts. Median milliseconds of wall and of processor time, in turns.
"""

from __future__ import annotations

import argparse
import collections
import io
import statistics
import time
import zlib
from collections.abc import Callable
from functools import partial

import imagecodecs
import numpy as np
from PIL import Image

from benchmarks.decode import film
from cxrzero.bench.machine import machine, versions
from cxrzero.images.detectors import detector_flags
from cxrzero.images.flags import pixel_flags
from cxrzero.images.raster_samples import RasterSamples, grey_of
from cxrzero.screener import Screener

SIDE = 1024  # of the PNG file
BROKEN = 200


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    args = parser.parse_args()
    print(machine(), versions())
    pixels = film(2048, 1792, 12)
    jpeg2000 = bytes(imagecodecs.jpeg2k_encode(pixels, codecformat="J2K", reversible=True, bitspersample=12))
    htj2k = bytes(imagecodecs.htj2k_encode(pixels, reversible=True))
    print("2048 × 1792, 12 bits:")
    openjpeg = {f"OpenJPEG, {n} threads": partial(imagecodecs.jpeg2k_decode, jpeg2000, numthreads=n) for n in (1, 2, 4)}
    compare("JPEG 2000 lossless", openjpeg, args.repeats)
    ht = {"OpenJPEG": imagecodecs.jpeg2k_decode, "OpenJPH": imagecodecs.htj2k_decode}
    compare("HTJ2K lossless", {name: partial(decode, htj2k) for name, decode in ht.items()}, args.repeats)
    for how, count in broken(ht).items():
        print(f"    of {BROKEN} broken HTJ2K streams {count}: {', '.join(map(' '.join, zip(ht, how, strict=True)))}")
    png(args.repeats)


def compare(title: str, decoders: dict[str, Callable[[], object]], repeats: int) -> None:
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in decoders}
    for _ in range(repeats):
        for name, action in decoders.items():
            wall, used = time.perf_counter(), time.process_time()
            action()
            times[name].append((time.perf_counter() - wall, time.process_time() - used))
    for name, taken in times.items():
        wall, used = (1000 * statistics.median(each) for each in zip(*taken, strict=True))
        print(f"  {title}, {name}: {wall:.1f} ms, {used:.1f} core-ms", flush=True)


def broken(decoders: dict[str, Callable[[bytes], np.ndarray]]) -> collections.Counter[tuple[str, ...]]:
    """How often each decoder refuses streams of which some bytes of the pixels are overwritten or bits flipped."""
    rng, found = np.random.default_rng(0), collections.Counter[tuple[str, ...]]()
    pixels = film(512, 448, 12)
    stream = bytes(imagecodecs.htj2k_encode(pixels, reversible=True))
    for number in range(BROKEN):
        damaged, at = bytearray(stream), int(rng.integers(200, len(stream) - 300))
        if number % 2:
            damaged[at] ^= 1 << int(rng.integers(8))
        else:
            damaged[at : at + 100] = rng.bytes(100)
        found[tuple(_answer(decode, bytes(damaged), pixels) for decode in decoders.values())] += 1
    return found


def _answer(decode: Callable[[bytes], np.ndarray], stream: bytes, pixels: np.ndarray) -> str:
    try:
        return "returns another picture" if (decode(stream) != pixels).any() else "returns the picture"
    except RuntimeError:
        return "refuses"


def png(repeats: int) -> None:
    """The whole of a PNG film's way, and its parts."""
    pixels = film(SIDE, SIDE, 8)
    with io.BytesIO() as file:
        Image.fromarray(pixels).save(file, "png")
        data = file.getvalue()
    packed, filtered = idat(data)
    preprocess = Screener("cxrzero-mini", device="cpu", cache=False).member.preprocess
    print(f"PNG, {SIDE} × {SIDE}, {len(data) / 1e6:.1f} MB, of the filters {filters(filtered)}:")
    compare("PNG", {
        "inflate by zlib": partial(zlib.decompress, packed),
        "inflate by zlib-ng": partial(imagecodecs.zlibng_decode, packed, out=len(filtered)),
        "inflate by libdeflate": partial(imagecodecs.deflate_decode, packed, out=len(filtered)),
        "libpng (taken)": partial(imagecodecs.png_decode, data),
        "libspng": partial(imagecodecs.spng_decode, data),
        "Pillow": lambda: np.asarray(Image.open(io.BytesIO(data))),
        "then grey": lambda: grey_of(RasterSamples(pixels[..., np.newaxis], 8)),
        "then flags": lambda: pixel_flags(pixels),
        "then detectors": lambda: detector_flags(pixels),
        "then preprocessing of cxrzero-mini": lambda: preprocess(pixels),
    }, repeats)  # fmt: skip


def idat(data: bytes) -> tuple[bytes, bytes]:
    """The compressed stream of a PNG file, and the filtered rows that it holds."""
    at, parts = 8, []
    while at < len(data):
        length = int.from_bytes(data[at : at + 4])
        if data[at + 4 : at + 8] == b"IDAT":
            parts.append(data[at + 8 : at + 8 + length])
        at += 12 + length
    packed = b"".join(parts)
    return packed, zlib.decompress(packed)


def filters(rows: bytes) -> dict[str, int]:
    """How many rows have each filter (PNG, 9.2)."""
    kinds = np.frombuffer(rows, np.uint8).reshape(SIDE, SIDE + 1)[:, 0]
    names = ("none", "sub", "up", "average", "paeth")
    return {name: int(count) for name, count in zip(names, np.bincount(kinds, minlength=5), strict=True) if count}


if __name__ == "__main__":
    main()
