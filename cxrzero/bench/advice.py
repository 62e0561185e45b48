"""What bounds a run, and what to set."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from cxrzero.bench.stages import EncodeRate
from cxrzero.bench.stopwatch import Rate
from cxrzero.bench.whole import WholeRate


@dataclass(frozen=True, slots=True)
class Stages:
    """What every image passes, whatever encodes it: decoding and preprocessing."""

    decode: Rate
    preprocess: Rate
    cores: int

    @property
    def core_ms(self) -> float:
        """Before the encoder."""
        return self.decode.core_ms + self.preprocess.core_ms


def bound(stages: Stages, encoder: EncodeRate) -> float:
    """Images per second that this machine could reach.

    On a CPU, decoding and encoding share the cores: cores / (core seconds of both). Beside a GPU, the slower of the
    two.
    """
    if encoder.device == "cpu":
        return 1000 * stages.cores / (stages.core_ms + encoder.rate.core_ms)
    return min(1000 * stages.cores / stages.core_ms, encoder.rate.images_per_second)


def bounded_by(stages: Stages, encoder: EncodeRate) -> str:
    """The stage that is worth making faster: "decode", "preprocess" or "encode"."""
    costs = {"decode": stages.decode.core_ms, "preprocess": stages.preprocess.core_ms}
    if encoder.device == "cpu":
        costs["encode"] = encoder.rate.core_ms
    elif bound(stages, encoder) == encoder.rate.images_per_second:
        return "encode"
    return max(costs, key=lambda name: costs[name])


def workers_to_try(stages: Stages, encoder: EncodeRate) -> list[int]:
    """Return all cores and half of them on a CPU; beside a GPU as many as keep up with it."""
    if encoder.device == "cpu":
        return sorted({stages.cores, max(1, stages.cores // 2)})
    needed = math.ceil(encoder.rate.images_per_second * stages.core_ms / 1000)
    return [min(max(1, needed), stages.cores)]


def fastest(encoders: Sequence[EncodeRate]) -> EncodeRate | None:
    """Choose on a GPU by the clock, and on a CPU by processor time, since decoding takes what an encoder leaves."""
    on_gpu = [each for each in encoders if each.device == "cuda"]
    if on_gpu:
        return max(on_gpu, key=lambda each: each.rate.images_per_second)
    return min(encoders, key=lambda each: each.rate.core_ms, default=None)


def settings(best: WholeRate) -> dict[str, str | int]:
    """Options of `cxrzero predict`."""
    encoder = best.encoder
    return {
        "backend": encoder.backend,
        "precision": encoder.precision,
        "batch_size": encoder.batch_size,
        "workers": best.workers,
    }
