"""Films to scores with all cores, beside decoders alone and encoder alone; the bound is the slower of the two.

This is `cxrzero predict` below its command line: the same plan, decoders, encoder and table, without the cache. Few
distinct films have many names; from the second time on a film is flagged `duplicate`, and is decoded and encoded like
any other. The rate is taken between the end of the first fifth of all batches and the end of the last, so that the
start does not count; that, from opening the model to the first row, is stated beside it. There are several times as
many films as are under way at once; where films come slowly, batches are small. Decoders alone are as many processes
that do their part with the same films in loops (`decoders.py`). Encoder alone gets batches of what they make of them,
which is in memory. With --fitted that is fitted pictures, also where the encoder would take whole films. With
--gpu-decode the two share the GPU.
"""

from __future__ import annotations

import argparse
import itertools
import os
import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import cxrzero.pipeline.films
from benchmarks.gpu.decoders import decoders_alone
from benchmarks.gpu.device import card
from benchmarks.gpu.films import fill
from benchmarks.gpu.worker import parser, row, wait_for_turn
from cxrzero.bench.stopwatch import measure
from cxrzero.errors import CxrzeroError
from cxrzero.pipeline.live import Live
from cxrzero.pipeline.processes import GROUP
from cxrzero.predict.options import PredictOptions
from cxrzero.predict.plan import Plan, prepare
from cxrzero.predict.run import run
from cxrzero.screener import Screener

SMALL_BATCH = 16  # where films come too slowly for several batches of the usual size
# Of what is under way at once: rows come in batches, of films that were decoded long before.
LEAST_WINDOWS = 4


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--model", required=True)
    options.add_argument("--form", required=True)
    options.add_argument("--precision", required=True)
    options.add_argument("--row", required=True, help="its name")
    options.add_argument("--backend", default="auto")
    options.add_argument("--fitted", action="store_true", help="films are fitted where they are decoded")
    options.add_argument("--fast-decode", action="store_true")
    options.add_argument("--gpu-decode", action="store_true")
    args = options.parse_args()
    wait_for_turn()
    if args.fitted:
        cxrzero.pipeline.films.MOST_BYTES = 0
    bundle = args.work / args.model / ("bundle.fp16" if args.precision == "fp16" else "bundle")
    asked = PredictOptions(
        paths=(str(args.work / args.form),),
        out=str(args.work / "predictions.csv"),
        overwrite=True,
        model=(str(bundle),),
        device=args.device,
        backend=args.backend,
        precision=args.precision,
        cache=False,
        fast_decode=args.fast_decode,
        **({"gpu_decode": True} if args.gpu_decode else {}),
    )
    try:
        row(args.row, **measured(args, asked))
    except CxrzeroError as error:
        row(args.row, error=str(error))


def measured(args: argparse.Namespace, asked: PredictOptions) -> dict[str, Any]:
    gpu = card(args.device)
    before = gpu.used_mb if gpu else 0
    films = sorted((args.work / args.form).iterdir())
    started = time.perf_counter()
    plan = prepare(asked)
    opened = time.perf_counter() - started
    encoder = plan.screener.member.encoder
    decoding = decoders_alone(plan.screener, [str(path) for path in films], args.seconds / 2)
    batch, batches = batches_of(args.seconds * decoding, plan.screener.batch_size, plan.screener.workers)
    plan.screener.batch_size = batch
    folder = args.work / f"{args.form}.{batch * batches}"
    if not folder.exists():
        fill(folder, films, batch * batches)
    whole = from_files(replace(plan, options=replace(asked, paths=(str(folder),))), batch, batches)
    encoding = measure(encoder_alone(plan.screener, [str(path) for path in films], batch), batch, args.seconds / 8)
    rate, first_row = whole.pop("images_per_second"), whole.pop("first_row_seconds")
    return {
        "images_per_second": rate,
        "decoders_alone": decoding,
        "encoder_alone": encoding.images_per_second,
        "share_of_bound": rate / min(decoding, encoding.images_per_second),
        "start_seconds": opened + first_row,
        **whole,
        "gpu_mb": gpu.used_mb - before if gpu else None,
        "batch": batch,
        "workers": plan.screener.workers,
        "decode_in": plan.screener.decode_in,
        "backend": encoder.backend,
        "reason": encoder.reason,
    }


def encoder_alone(screener: Screener, paths: Sequence[str], batch: int) -> Callable[[], object]:
    """An action that encodes a batch of what the decoders make of these films."""
    member = screener.member
    part, embedder = member.decoders_part, member.embedder(screener.decode_options)
    inputs = [part(radiograph.pixels) for path in paths for radiograph in screener.decode(path)]
    some = list(itertools.islice(itertools.cycle(inputs), batch))
    return lambda: embedder.encode(some)


def batches_of(films: float, usual: int, workers: int) -> tuple[int, int]:
    """Frames of a batch, the usual number if about so many films are enough for that, and how many batches."""

    def least(batch: int) -> int:
        return LEAST_WINDOWS * (workers * GROUP + 2 * batch)

    batch = usual if films >= least(usual) else min(usual, SMALL_BATCH)
    return batch, round(max(films, least(batch)) / batch)


def from_files(plan: Plan, batch: int, batches: int) -> dict[str, float]:
    """The run, by the clock of its rows."""
    times: list[float] = []
    started, busy = time.perf_counter(), processor_seconds()
    outcome = run(plan, lambda _: times.append(time.perf_counter()), Live())
    wall, busy = time.perf_counter() - started, processor_seconds() - busy
    if outcome.stats.ok != batch * batches:
        raise SystemExit(f"{outcome.stats.ok} of {batch * batches} films were scored")
    first = batch * max(1, batches // 5)
    return {
        "images_per_second": rate_between(times, first),
        "films": len(times),
        "wall_seconds": wall,
        "first_row_seconds": times[0] - started,
        "core_ms": 1000 * busy / len(times),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def rate_between(times: Sequence[float], first: int) -> float:
    """Rows per second after the first so many, up to the last."""
    return (len(times) - first) / (times[-1] - times[first - 1])


def processor_seconds() -> float:
    """Of this process and of the ones that it started and that are over."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


if __name__ == "__main__":
    main()
