"""The pipeline from files to scores, without the cache."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import cycle, islice
from math import ceil

from cxrzero.bench.films import Films
from cxrzero.bench.stages import EncodeRate
from cxrzero.bench.stopwatch import Rate, once
from cxrzero.images.radiograph import DecodeOptions
from cxrzero.screener import Screener

# Scoring costs nothing beside the pictures, whatever is asked.
LABELS = ("pneumonia",)
REPEATS = 2


@dataclass(frozen=True, slots=True)
class WholeRate:
    """Files to scores with these settings.

    Attributes:
        bound: images per second that the stages alone allow, see `cxrzero.bench.advice.bound`.
    """

    encoder: EncodeRate
    workers: int
    rate: Rate
    bound: float

    @property
    def share_of_bound(self) -> float:
        return self.rate.images_per_second / self.bound


def whole_rates(
    model: str,
    films: Films,
    encoder: EncodeRate,
    options: DecodeOptions,
    workers: Iterable[int],
    seconds: float,
    bound: float,
) -> list[WholeRate]:
    """The films over and over for about `seconds` with each number of decoding workers; the better of two runs each."""
    screener = Screener(
        model,
        device=f"cuda:{encoder.gpu.number}" if encoder.gpu else encoder.device,
        backend=encoder.backend,  # type: ignore[arg-type]
        precision=encoder.precision,  # type: ignore[arg-type]
        batch_size=encoder.batch_size,
        decode_in="auto",
        decode_options=options,
        cache=False,
    )
    # Some batches at least, so that filling the first and emptying the last does not count for much.
    count = max(4 * encoder.batch_size, int(bound * seconds / REPEATS))
    prompts = screener.prompts(LABELS)
    scorer = screener.classifier(prompts)
    member = screener.member
    member.encoder.encode_images(member.preprocess(films.pixels[0])[None])  # loads the model

    def timed() -> Rate:
        # The first batches are not timed: over them the decoding processes start, which counts for little in long runs.
        before = encoder.batch_size * ceil(screener.workers / encoder.batch_size)
        rows = screener.stream(islice(cycle(films.refs), before + count), scorer, prompts)
        deque(islice(rows, before), maxlen=0)
        return once(lambda: deque(rows, maxlen=0), count)

    rates = []
    for screener.workers in workers:
        runs = [timed() for _ in range(REPEATS)]
        rates.append(WholeRate(encoder, screener.workers, max(runs, key=lambda rate: rate.images_per_second), bound))
    return rates
