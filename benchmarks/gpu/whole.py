"""Films to scores with all cores, beside decoders alone and encoder alone; the bound is the slower of the two.

This is `cxrzero predict` below its command line: the same plan, decoders, encoder and table, without the cache. Few
distinct films have many names; from the second time on a film is flagged `duplicate`, and is decoded and encoded like
any other. The rate is taken between the end of the first fifth of all batches and the end of the last, so that the
start does not count, which is stated beside it; there are at least three batches, and where films come slowly they are
small. Decoders alone are the same pipeline before an encoder that answers at once, after a first wave of films. Encoder
alone gets batches of the pipeline's size that are in memory.
"""

from __future__ import annotations

import itertools
import os
import resource
import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from benchmarks.gpu.device import card
from benchmarks.gpu.encode import Films
from benchmarks.gpu.films import fill
from benchmarks.gpu.worker import parser, row, wait_for_turn
from cxrzero.backends import Encoder
from cxrzero.bench.stopwatch import measure
from cxrzero.errors import CxrzeroError
from cxrzero.pipeline.live import Live
from cxrzero.predict.options import PredictOptions
from cxrzero.predict.plan import Plan, prepare
from cxrzero.predict.run import run
from cxrzero.sources import find_images

# Films that are out at one process: those of all processes come back in waves, whole ones of which are counted.
WAVE = 4
SMALL_BATCH = 64  # where films come too slowly for several batches of the usual size
LEAST_BATCHES = 3


def main() -> None:
    started = time.perf_counter()
    options = parser(__doc__)
    options.add_argument("--model", required=True)
    options.add_argument("--form", required=True)
    options.add_argument("--precision", required=True)
    options.add_argument("--row", required=True, help="its name")
    options.add_argument("--fast-decode", action="store_true")
    args = options.parse_args()
    imported = time.perf_counter() - started
    wait_for_turn()
    gpu = card(args.device)
    before = gpu.used_mb if gpu else 0
    bundle = args.work / args.model / ("bundle.fp16" if args.precision == "fp16" else "bundle")
    films = sorted((args.work / args.form).iterdir())
    asked = PredictOptions(
        paths=(str(args.work / args.form),),
        out=str(args.work / "predictions.csv"),
        overwrite=True,
        model=(str(bundle),),
        device=args.device,
        precision=args.precision,
        cache=False,
        fast_decode=args.fast_decode,
    )
    try:
        started = time.perf_counter()
        plan = prepare(asked)
        opened = time.perf_counter() - started
        encoder = plan.screener.member.encoder
        decoding = decoders_alone(plan, asked.paths, args.seconds / 2)
        batch = batch_of(args.seconds * decoding, plan.screener.batch_size)
        plan.screener.batch_size = batch
        batches = max(LEAST_BATCHES, round(args.seconds * decoding / batch))
        folder = args.work / f"{args.form}.{batch * batches}"
        if not folder.exists():
            fill(folder, films, batch * batches)
        whole = from_files(replace(plan, options=replace(asked, paths=(str(folder),))), batch, batches)
        encoding = measure(Films(args.work / args.model).encode(encoder, batch), batch, args.seconds / 8)
    except CxrzeroError as error:
        row(args.row, error=str(error))
        return
    bound = min(decoding, encoding.images_per_second)
    row(
        args.row,
        images_per_second=whole["images_per_second"],
        decoders_alone=decoding,
        encoder_alone=encoding.images_per_second,
        share_of_bound=whole["images_per_second"] / bound,
        start_seconds=imported + opened + whole.pop("first_row_seconds"),
        batch=batch,
        workers=plan.screener.workers,
        decode_in=plan.screener.decode_in,
        gpu_mb=gpu.used_mb - before if gpu else None,
        backend=encoder.backend,
        reason=encoder.reason,
        **{key: value for key, value in whole.items() if key != "images_per_second"},
    )


class NoEncoder:
    """Answers at once, the same for all, and takes what the real one takes."""

    def __init__(self, encoder: Encoder, embed_dim: int, wave: int) -> None:
        self.backend, self.device = encoder.backend, encoder.device
        self.precision, self.reason = encoder.precision, encoder.reason
        self.takes_fitted = getattr(encoder, "takes_fitted", False)
        self._embeds = np.full((wave, embed_dim), embed_dim**-0.5, np.float32)

    def encode_images(self, pixel_values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        return self._embeds[: len(pixel_values)]

    def encode_fitted(self, frames: Sequence[npt.NDArray[np.uint8]], steps: object) -> npt.NDArray[np.float32]:
        return self._embeds[: len(frames)]


def decoders_alone(plan: Plan, paths: Sequence[str], seconds: float) -> float:
    """Films per second that become the encoder's input, over and over for so long."""
    screener = plan.screener
    members, batch = screener.members, screener.batch_size
    scorer = screener.classifier(plan.prompts)
    wave = WAVE * screener.workers
    no_encoder = NoEncoder(members[0].encoder, members[0].bundle.embed_dim, wave)
    screener.members = (replace(members[0], encoder=no_encoder),)  # type: ignore[arg-type]
    screener.batch_size = wave
    rows = screener.stream(itertools.cycle(list(find_images(list(paths)))), scorer, plan.prompts)
    try:
        times = [time.perf_counter() for _ in itertools.islice(rows, wave)]
        while times[-1] - times[wave - 1] < seconds:
            times += [time.perf_counter() for _ in itertools.islice(rows, wave)]
        return rate_between(times, wave)
    finally:
        rows.close()
        screener.members, screener.batch_size = members, batch


def batch_of(films: float, usual: int) -> int:
    """Frames of a batch: the usual number if so many films make several batches, else fewer."""
    return usual if films >= LEAST_BATCHES * usual else min(usual, SMALL_BATCH)


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
