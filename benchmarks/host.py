"""Whether the host keeps up with a GPU: `predict` over many films with a pretended encoder of a given rate.

    python benchmarks/host.py [--encoder 2300] [--side 1024] [--workers 16] [--films 20000]
    python benchmarks/host.py --encoder 0 --decoder 57 --workers 16

The films are phantoms as 8-bit PNG, under many names (hard links). With --decoder nothing is decoded: each worker waits
as long as one that decodes so many films a second, so that few cores can stand for many; its films are --side large,
like the PNGs. The encoder takes whole films or, with --fitted, fitted pictures, as torch and ONNX Runtime on CUDA do;
it copies them and waits as long as one of that rate (0: not at all). Everything else is `predict`: the
walk, processes, the cache (empty at first), scores of the model's own labels, the table.

The bound is the slower of the encoder and of the decoders alone, which is what the same number of processes decodes
and fits in loops that nobody feeds. The rate is that between two rows in the middle, 2,048 rows from start and end:
at both, as many films are on their way. "Parent µs" is the processor time of one film in the process that feeds the
encoder, its start included.
"""

from __future__ import annotations

import argparse
import itertools
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import cxrzero.pipeline.films
from benchmarks.archive import draw_films, fill
from cxrzero.backends import Encoder
from cxrzero.bench.machine import machine, versions
from cxrzero.images import decode
from cxrzero.images.radiograph import Facts, Radiograph
from cxrzero.model.geometry import Geometry
from cxrzero.model.preprocess import Preprocess
from cxrzero.model.values import ValueSteps
from cxrzero.pipeline.decode_file import digest_of
from cxrzero.pipeline.films import MOST_BYTES
from cxrzero.pipeline.live import Live
from cxrzero.predict.options import PredictOptions
from cxrzero.predict.plan import Plan, prepare
from cxrzero.predict.run import run
from cxrzero.sources import ImageRef
from cxrzero.sources.reader import Reader

CALL = 64
GROUP = 16  # films of 1024 × 1024 that are copied together
ENDS = 2048  # rows
ALONE_SECONDS = 5.0

Decode = Callable[[str], Iterator[Radiograph]]


class PretendedEncoder:
    """On CUDA, if one believes it."""

    backend, device, precision, reason, takes_fitted, takes_films = "pretended", "cuda", "fp32", "asked for", True, True
    gpu = None

    def __init__(self, texts: Encoder, embed_dim: int, rate: float) -> None:
        self.encode_texts = texts.encode_texts
        self._seconds = 1 / rate if rate else 0.0
        self._pinned = np.zeros((GROUP, MOST_BYTES), np.uint8)  # as films that are fitted on the device
        self._embeds = np.full((CALL, embed_dim), embed_dim**-0.5, np.float32)

    def encode_fitted(self, frames: Sequence[npt.NDArray[np.uint8]], steps: ValueSteps) -> npt.NDArray[np.float32]:
        calls = []
        for start in range(0, len(frames), CALL):
            rows = np.stack(frames[start : start + CALL])  # as they are copied into pinned memory
            time.sleep(CALL * self._seconds)
            calls.append(self._embeds[: len(rows)])
        return np.concatenate(calls)

    def encode_films(
        self, films: Sequence[npt.NDArray[np.uint8]], geometry: Geometry, steps: ValueSteps
    ) -> npt.NDArray[np.float32]:
        for start in range(0, len(films), GROUP):
            for place, film in zip(self._pinned, films[start : start + GROUP], strict=False):
                place[: film.size].reshape(film.shape)[...] = film
        return self.encode_fitted([np.zeros(geometry.fitted_size or (), np.uint8)] * len(films), steps)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoder", type=float, default=2300, help="images/s")
    parser.add_argument("--decoder", type=float, help="films/s of one pretended worker; without it PNGs are decoded")
    parser.add_argument("--side", type=int, default=1024, help="of the films, in pixels")
    parser.add_argument("--fitted", action="store_true", help="decoders fit all films")
    parser.add_argument("--workers", type=int, default=min(16, len(os.sched_getaffinity(0))))
    parser.add_argument("--films", type=int, default=20_000)
    parser.add_argument("--model", default="cxrzero-mini", help="whose preprocessing and labels there are")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--no-cache", action="store_true")
    args = parser.parse_args()
    if args.fitted:
        cxrzero.pipeline.films.MOST_BYTES = 0
    print(machine(), versions())
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        os.environ["CXRZERO_CACHE_DIR"] = str(work / "cache")
        decoder: Decode
        if args.decoder:
            decoder = partial(pretended, 1 / args.decoder, args.side)
            films = [work / "film.png"]
            films[0].write_bytes(b"not read")
        else:
            decoder = decode
            films = draw_films(work / "drawn", args.side)
        fill(work / "films", films, args.films)
        plan = pretending(args, work)
        plan.screener.reader = Pretending(decoder)
        preprocess = plan.screener.members[0].preprocess
        alone = decoders_alone(decoder, preprocess, [str(path) for path in films], args.workers)
        rate, whole, parent = measured(plan, args.films)
        bound = min(alone, args.encoder or alone)
        print("| workers | decoders alone | encoder | films/s | of the bound | with the start | parent µs |")
        print("|---|---|---|---|---|---|---|")
        print(
            f"| {args.workers} | {alone:.0f} | {args.encoder or '∞'} | {rate:.0f} | {rate / bound:.0%} | {whole:.0f} "
            f"| {parent * 1e6:.0f} |"
        )


def pretended(seconds: float, side: int, path: str) -> Iterator[Radiograph]:
    """A film of its own for each path, after a while."""
    time.sleep(seconds)
    pixels = np.zeros((side, side), np.uint8)
    pixels[0, :16] = np.frombuffer(path.encode()[-16:].rjust(16), np.uint8)
    yield Radiograph(pixels, facts=Facts(modality="DX"))


class Pretending(Reader):
    """Reads nothing; it travels to processes with what it gives instead."""

    def __init__(self, decoder: Decode) -> None:
        super().__init__()
        self.decoder = decoder

    def decode(self, film: ImageRef | str, *_: object, **__: object) -> Iterator[Radiograph]:
        return self.decoder(film if isinstance(film, str) else film.path)

    def __reduce__(self) -> tuple[Any, ...]:
        return Pretending, (self.decoder,)


def pretending(args: argparse.Namespace, work: Path) -> Plan:
    options = PredictOptions(
        paths=(str(work / "films"),),
        out=str(work / "table.csv"),
        model=(args.model,),
        device="cpu",
        workers=args.workers,
        decode_in="processes",
        batch_size=args.batch,
        cache=not args.no_cache,
    )
    plan = prepare(options)
    member = plan.screener.members[0]
    encoder = PretendedEncoder(member.encoder, member.bundle.embed_dim, args.encoder)
    object.__setattr__(member, "encoder", encoder)
    return plan


def measured(plan: Plan, films: int) -> tuple[float, float, float]:
    """Films per second in the middle, from the start on, and the parent's processor seconds for each film."""
    times: list[float] = []

    def on_row(live: Live) -> None:
        times.append(time.perf_counter())

    started, busy = time.perf_counter(), time.process_time()
    outcome = run(plan, on_row)
    busy = time.process_time() - busy
    if outcome.stats.ok != films:
        raise SystemExit(f"{outcome.stats.ok} of {films} films were scored")
    middle = times[ENDS - 1 : -ENDS : plan.screener.batch_size]  # rows come out a batch at a time
    rate = (len(middle) - 1) * plan.screener.batch_size / (middle[-1] - middle[0])
    return rate, films / (times[-1] - started), busy / films


def decoders_alone(decoder: Decode, preprocess: Preprocess, paths: Sequence[str], workers: int) -> float:
    """Films per second of processes that decode and fit the same films again and again."""
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        list(pool.map(partial(looped, decoder, preprocess, paths, 0.1), range(workers)))  # they have started
        return sum(pool.map(partial(looped, decoder, preprocess, paths, ALONE_SECONDS), range(workers)))


def looped(decoder: Decode, preprocess: Preprocess, paths: Sequence[str], seconds: float, worker: int) -> float:
    started = time.perf_counter()
    own = [*paths[worker % len(paths) :], *paths[: worker % len(paths)]]
    for done, path in enumerate(itertools.cycle(own), start=1):
        for radiograph in decoder(path):
            digest_of(radiograph.pixels)
            preprocess.fit(radiograph.pixels)
        if (spent := time.perf_counter() - started) >= seconds:
            return done / spent
    raise AssertionError("a cycle ends")


if __name__ == "__main__":
    main()
