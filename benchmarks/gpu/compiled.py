"""The encoder's graph given to torch.compile, for one call size: how long that takes, and what it gains.

Numbers are on the GPU already and embeddings stay there, so that this is the graph alone, by itself and compiled.
"""

from __future__ import annotations

import time
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

    films = Films(args.work / args.model)
    bundle = load_bundle(films.folder / "bundle")
    wait_for_turn()
    dtype = DTYPES[args.precision]
    graph = TorchGraph(bundle.file(IMAGE.file), IMAGE.output, args.device, dtype)
    values = torch.from_numpy(films.steps(films.fitted)).to(args.device)
    values = values[torch.arange(args.calls, device=args.device) % len(values)]

    def plain(values: torch.Tensor) -> torch.Tensor:
        with torch.autocast(args.device, dtype, enabled=dtype is not torch.float32):
            return graph(IMAGE.input, values)

    rates: dict[str, float] = {}
    seconds = 0.0
    with torch.inference_mode():
        # The graph is run step by step in Python, which the compiler does not follow: it gets what that comes to, with
        # the shapes of this call, which are read off small tensors.
        traced = make_fx(plain, _error_on_data_dependent_ops=False)(values)
        for name, run in (("plain", plain), ("compiled", torch.compile(traced, mode=MODE))):
            once = partial(completed, run, values)
            started = time.perf_counter()
            for _ in range(3):  # compiles, captures, runs
                once()
            seconds = time.perf_counter() - started
            rates[name] = measure(once, args.calls, args.seconds).images_per_second
    tflops = rates["compiled"] * films.info["gflop"] / 1e3
    row(
        f"compiled {args.model} {args.precision} {args.calls}",
        images_per_second=rates["compiled"],
        plain_images_per_second=rates["plain"],
        compile_seconds=seconds,
        tflops=tflops,
        share_of_peak=share_of_peak(tflops, args.precision, card(args.device)),
    )


def completed(run: Any, values: Any) -> None:
    import torch

    run(values)
    if values.is_cuda:
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
