"""One model with one backend in one precision: images per second in calls of several sizes, and how far d deviates.

Films enter as the pipeline gives them to the encoder: 8-bit after the geometry where the encoder does the rest on its
device, else as numbers. They are in the host's memory, and embeddings come back to it. Each size has an encoder of its
own. GPU memory is what the card has in use more than before this program used it, with CUDA's own. Only the torch
backend imports torch, whose CUDA libraries ONNX Runtime would find loaded.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.gpu.device import Card, card, share_of_peak
from benchmarks.gpu.models import differences
from benchmarks.gpu.worker import parser, row, wait_for_turn
from cxrzero.backends import Encoder, open_encoder
from cxrzero.bench.stopwatch import measure
from cxrzero.errors import CxrzeroError
from cxrzero.model.bundle import load_bundle
from cxrzero.model.preprocess import Preprocess
from cxrzero.model.values import ValueSteps
from cxrzero.stats.metrics import rank_correlation

Embeds = npt.NDArray[np.float32]
ROWS = 1024  # of one batch at least; two calls


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--model", required=True)
    options.add_argument("--backend", required=True)
    options.add_argument("--precision", required=True)
    options.add_argument("--calls", required=True, help="rows of one call, e.g. 64,256")
    options.add_argument("--rows", type=int, default=ROWS, help="of one batch")
    args = options.parse_args()
    if args.backend == "torch":
        import torch  # noqa: F401
    films = Films(args.work / args.model)
    wait_for_turn()
    gpu = card(args.device)
    before = gpu.used_mb if gpu else 0
    for calls in map(int, args.calls.split(",")):
        name = f"encode {args.model} {args.backend} {args.precision} {calls}"
        try:
            row(name, **of_one_size(films, args, calls, gpu, before))
        except CxrzeroError as error:
            row(name, error=str(error))


class Films:
    """A model's films, and what the CPU made of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.info: dict[str, Any] = json.loads((folder / "info.json").read_text(encoding="utf-8"))
        self.fitted = np.load(folder / "fitted.npy")
        self.exact = differences(np.load(folder / "exact.npy"))
        bundle = load_bundle(folder / "bundle")
        steps = Preprocess(bundle.preprocess, bundle.image_size).value_steps
        assert steps is not None
        self.steps: ValueSteps = steps

    def encode(self, encoder: Encoder, count: int | None = None) -> Callable[[], Embeds]:
        """An action that encodes the films, over and over up to `count`, as the pipeline would."""
        frames = self.fitted if count is None else self.fitted[np.arange(count) % len(self.fitted)]
        if getattr(encoder, "takes_fitted", False):
            return lambda: encoder.encode_fitted(list(frames), self.steps)
        values = self.steps(frames)
        return lambda: encoder.encode_images(values)


def open_one(films: Films, args: argparse.Namespace, calls: int) -> Encoder:
    """An encoder whose calls have so many rows."""
    needs_file = args.backend == "onnxruntime" and args.precision == "fp16"
    bundle = load_bundle(films.folder / ("bundle.fp16" if needs_file else "bundle"))
    encoder = open_encoder(bundle, args.backend, args.device, args.precision)
    encoder.fixed_batch = calls  # type: ignore[attr-defined]
    return encoder


def of_one_size(films: Films, args: argparse.Namespace, calls: int, gpu: Card | None, before: int) -> dict[str, Any]:
    encoder = open_one(films, args, calls)
    d = differences(films.encode(encoder)())
    rows = max(args.rows, 2 * calls)
    rate = measure(films.encode(encoder, rows), rows, args.seconds)
    tflops = rate.images_per_second * films.info["gflop"] / 1e3
    used = gpu.used_mb - before if gpu else None
    stated: dict[str, Any] = {"backend": encoder.backend, "reason": encoder.reason, "rows": rows}
    del encoder
    release()
    stated["gpu_mb_left"] = gpu.used_mb - before if gpu else None
    return {
        "images_per_second": rate.images_per_second,
        "core_ms": rate.core_ms,
        "tflops": tflops,
        "share_of_peak": share_of_peak(tflops, args.precision, gpu),
        **deviation(films.exact, d),
        "gpu_mb": used,
        **stated,
    }


def deviation(exact: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> dict[str, float]:
    """Of the worst label, as the bound on a precision has it (`cxrzero.backends.precision`); (N, labels) each."""
    return {
        "max_abs_d_over_sd": float((np.abs(other - exact).max(axis=0) / exact.std(axis=0)).max()),
        "spearman": min(rank_correlation(*columns) for columns in zip(exact.T, other.T, strict=True)),
    }


def release() -> None:
    """Give back the GPU's memory of an encoder that is no more, so that the next one's is its own."""
    gc.collect()
    if torch := sys.modules.get("torch"):
        torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
