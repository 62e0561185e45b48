"""What the card really reaches: products of large square matrices in torch, each number format, TF32 off."""

from __future__ import annotations

from benchmarks.gpu.device import card, share_of_peak
from benchmarks.gpu.worker import parser, row, wait_for_turn
from cxrzero.bench.stopwatch import measure


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--side", type=int, default=8192)
    args = options.parse_args()
    import torch

    wait_for_turn()
    gpu = card(args.device)
    torch.set_float32_matmul_precision("highest")
    for precision, dtype in (("fp32", torch.float32), ("fp16", torch.float16), ("bf16", torch.bfloat16)):
        a, b = (torch.randn(args.side, args.side, device=args.device, dtype=dtype) for _ in range(2))

        def product(a: torch.Tensor = a, b: torch.Tensor = b) -> None:
            a @ b
            if args.device == "cuda":
                torch.cuda.synchronize()

        tflops = measure(product, 1, args.seconds).images_per_second * 2 * args.side**3 / 1e12
        row(f"ceiling {precision}", tflops=tflops, share_of_peak=share_of_peak(tflops, precision, gpu))


if __name__ == "__main__":
    main()
