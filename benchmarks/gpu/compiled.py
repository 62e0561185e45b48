"""The program that torch runs on a GPU, given to torch.compile for one call size: how long that takes, what it gains.

Numbers are on the GPU already and embeddings stay there: this is the program alone, started step by step, recorded as a
CUDA graph as the encoder does, and compiled (which records CUDA graphs, too).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

from benchmarks.gpu.device import card, share_of_peak
from benchmarks.gpu.encode import Films
from benchmarks.gpu.worker import parser, row, wait_for_turn
from cxrzero.backends.base import IMAGE
from cxrzero.bench.stopwatch import measure
from cxrzero.model.bundle import load_bundle

MODE = "reduce-overhead"  # with CUDA graphs


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--model", required=True)
    options.add_argument("--precision", required=True)
    options.add_argument("--calls", type=int, required=True)
    args = options.parse_args()
    import torch
    from torch.fx.experimental.proxy_tensor import make_fx

    from cxrzero.backends.torch.encoder import DTYPES
    from cxrzero.backends.torch.graph import TorchGraph
    from cxrzero.backends.torch.program import Kind
    from cxrzero.backends.torch.tower import program

    films = Films(args.work / args.model)
    graph = TorchGraph(load_bundle(films.folder / "bundle").file(IMAGE.file), IMAGE.output)
    wait_for_turn()
    values = torch.from_numpy(films.steps(films.fitted)).to(args.device)
    values = values[torch.arange(args.calls, device=args.device) % len(values)]
    kind = Kind(tuple(values.shape), values.dtype)
    plain = program(graph, IMAGE.input, kind, DTYPES[args.precision]).ready(args.device)
    with torch.inference_mode():
        started = time.perf_counter()
        # Traced beforehand: else each call would check that none of the steps has changed.
        compiled = torch.compile(make_fx(plain)(values), fullgraph=True, mode=MODE)
        for _ in range(3):  # compiles, captures, runs
            completed(compiled, values)
        seconds = time.perf_counter() - started
        runs: dict[str, Callable[[Any], Any]] = {"compiled": compiled, "plain": plain}
        if args.device == "cuda":
            runs["recorded"] = recorded(plain, values)
        rates = {
            f"{name}_images_per_second": measure(
                partial(completed, run, values), args.calls, args.seconds
            ).images_per_second
            for name, run in runs.items()
        }
    tflops = rates["compiled_images_per_second"] * films.info["gflop"] / 1e3
    row(
        f"compiled {args.model} {args.precision} {args.calls}",
        **rates,
        compile_seconds=seconds,
        tflops=tflops,
        share_of_peak=share_of_peak(tflops, args.precision, card(args.device)),
    )


def recorded(run: Callable[[Any], Any], values: Any) -> Callable[[Any], Any]:
    """A CUDA graph of it, which computes with the same values each time."""
    import torch

    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run(values)
    return lambda _: graph.replay()


def completed(run: Callable[[Any], Any], values: Any) -> None:
    """Run it, and wait for the GPU."""
    import torch

    run(values)
    if values.is_cuda:
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
