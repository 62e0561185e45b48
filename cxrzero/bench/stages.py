"""Decoding, preprocessing and encoding, each alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from cxrzero.backends import REQUIRED, Encoder, missing_module, open_encoder
from cxrzero.backends.gpus import Gpu
from cxrzero.backends.precision import admissible, offered
from cxrzero.bench.films import Films
from cxrzero.bench.stopwatch import Rate, measure
from cxrzero.choices import Device
from cxrzero.errors import CxrzeroError
from cxrzero.images.radiograph import DecodeOptions
from cxrzero.model.bundle import Bundle
from cxrzero.model.preprocess import Preprocess
from cxrzero.sources import ImageRef
from cxrzero.sources.reader import Reader

# Batches that are tried; a CPU is full with little, and more only waits longer for its films.
BATCHES = {"cpu": (1, 8, 16, 32), "cuda": (64, 128, 256, 512)}
# A larger batch has to be faster by this much to be worth its memory and its wait.
WORTH = 1.03


@dataclass(frozen=True, slots=True)
class EncodeRate:
    """One backend in one precision.

    Attributes:
        batch_size: the smallest that is within 3% of the fastest.
        is_admissible: exact, or within the bound on deviation by the model's card, so that `auto` may take it.
        gpu: the card; None on a CPU.
    """

    backend: str
    device: str
    precision: str
    batch_size: int
    rate: Rate
    is_admissible: bool
    gpu: Gpu | None = None


@dataclass(frozen=True, slots=True)
class NotMeasured:
    """A backend or a precision that cannot run here, and why."""

    backend: str
    precision: str
    reason: str


def decode_rate(films: Films, options: DecodeOptions, threads: int, seconds: float) -> Rate:
    """Files → upright pictures with flags, in that many threads."""

    reader = Reader()

    def one(ref: ImageRef) -> int:
        return sum(1 for _ in reader.decode(ref, options))

    refs = films.refs * (1 + threads // len(films.refs))
    with ThreadPoolExecutor(threads) as pool:
        return measure(lambda: list(pool.map(one, refs)), len(refs), seconds)


def preprocess_rate(films: Films, preprocess: Preprocess, seconds: float) -> Rate:
    """Upright pictures → encoder input, in one thread."""
    return measure(lambda: [preprocess(pixels) for pixels in films.pixels], len(films.pixels), seconds)


def encode_rates(
    bundle: Bundle, films: Films, preprocess: Preprocess, device: Device, seconds: float
) -> tuple[list[EncodeRate], list[NotMeasured]]:
    """Encoder input → embeddings, with every backend and precision that this installation has."""
    prepared = np.stack([preprocess(pixels) for pixels in films.pixels])
    measured, left_out = [], []
    for backend in REQUIRED:
        if module := missing_module(backend):
            left_out.append(NotMeasured(backend, "", f"{module} is not installed: pip install 'cxrzero[{backend}]'"))
            continue
        for precision in _offers(backend, bundle):
            try:
                encoder = open_encoder(bundle, backend, device, precision)  # type: ignore[arg-type]
                measured.append(_encode_rate(backend, encoder, bundle, prepared, seconds))
            except CxrzeroError as error:
                left_out.append(NotMeasured(backend, precision, str(error)))
    return measured, left_out


def _offers(backend: str, bundle: Bundle) -> Sequence[str]:
    """Precisions that a backend offers on any device; opening the encoder tells whether this one has it."""
    return list(dict.fromkeys(name for device in ("cpu", "cuda") for name in offered(backend, device, bundle)))


def _encode_rate(
    backend: str, encoder: Encoder, bundle: Bundle, prepared: npt.NDArray[np.float32], seconds: float
) -> EncodeRate:
    rates = {}
    for size, rows in _batches(prepared, BATCHES[encoder.device]):
        rates[size] = measure(partial(encoder.encode_images, rows), size, seconds / len(BATCHES[encoder.device]))
    fastest = max(rate.images_per_second for rate in rates.values())
    size = next(size for size, rate in rates.items() if rate.images_per_second * WORTH >= fastest)
    exact = encoder.precision == "fp32"
    allowed = exact or encoder.precision in admissible([encoder.precision], encoder.device, bundle)
    return EncodeRate(backend, encoder.device, encoder.precision, size, rates[size], allowed, encoder.gpu)


def _batches(prepared: npt.NDArray[np.float32], sizes: Sequence[int]) -> Iterator[tuple[int, npt.NDArray[np.float32]]]:
    """The films over and over, as many as a batch has."""
    for size in sizes:
        yield size, prepared[np.arange(size) % len(prepared)]
