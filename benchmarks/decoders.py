"""Decoding in threads and in processes: films to encoder inputs through the pipeline, without an encoder.

    python benchmarks/decoders.py [--sides 256,1024] [--workers 1,2] [--model cxrzero-mini] [--repeats 3]

The films are phantoms as 8-bit PNG, without a cache. The two take turns, and the median counts. They differ in two
things: threads wait for each other while Python itself works on a film, and processes must send each film over.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.archive import draw_films
from cxrzero.bench.machine import machine, versions
from cxrzero.screener import Screener
from cxrzero.sources import ImageRef

KINDS = ("threads", "processes")
SECONDS = 6.0  # of each turn, about


class NoEncoder:
    """Answers at once, the same for all."""

    backend, device, precision, reason, takes_fitted = "none", "cpu", "fp32", "asked for", False

    def __init__(self, embed_dim: int) -> None:
        self._embeds = np.full((4096, embed_dim), embed_dim**-0.5, np.float32)

    def encode_images(self, pixel_values: np.ndarray) -> np.ndarray:
        return self._embeds[: len(pixel_values)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sides", default="256,1024", help="pixels")
    parser.add_argument("--workers", default="1,2")
    parser.add_argument("--model", default="cxrzero-mini", help="whose preprocessing is done")
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    print(machine(), versions())
    print(f"| {args.model}, side | workers | {' | '.join(f'{kind}, images/s' for kind in KINDS)} | × |")
    print("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as work:
        for side in map(int, args.sides.split(",")):
            films = draw_films(Path(work) / str(side), side)
            for workers in map(int, args.workers.split(",")):
                rates: dict[str, list[float]] = {kind: [] for kind in KINDS}
                for _ in range(args.repeats):
                    for kind in KINDS:
                        rates[kind].append(rate(args.model, films, workers, kind))
                threads, processes = (statistics.median(rates[kind]) for kind in KINDS)
                print(
                    f"| {side} | {workers} | {threads:.0f} | {processes:.0f} | {processes / threads:.2f} |", flush=True
                )


def rate(model: str, films: list[Path], workers: int, kind: str) -> float:
    screener = Screener(model, device="cpu", workers=workers, decode_in=kind, cache=False)  # type: ignore[arg-type]
    prompts = screener.prompts()[:1]
    scorer = screener.classifier(prompts)
    member = screener.member
    object.__setattr__(member, "encoder", NoEncoder(member.bundle.embed_dim))
    some = [ImageRef(str(path)) for path in films]
    started = time.perf_counter()
    first = sum(1 for _ in screener.stream(some, scorer, prompts))
    repeats = max(1, int(SECONDS / (time.perf_counter() - started)))
    many = some * repeats
    rows = screener.stream([*some, *many], scorer, prompts)
    for _ in range(first):  # the processes have started
        next(rows)
    started = time.perf_counter()
    for _ in rows:
        pass
    return len(many) / (time.perf_counter() - started)


if __name__ == "__main__":
    main()
