"""Which backend is the faster on CUDA, by measurement: what `--backend auto` takes there."""

from __future__ import annotations

from cxrzero.display.counts import either

# Images a second through a ViT-B/32's image encoder in calls of CUDA_BATCH rows, each precision and backend on the same
# card in one run. A backend that is not here has not been measured, and is never taken in place of one that has.
# benchmarks/results/gpu.jsonl
CARD = "NVIDIA H200"
ON_CUDA = {
    "fp32": {"torch": 3929.0, "onnxruntime": 3582.0},
    "fp16": {"torch": 21933.0, "onnxruntime": 11760.0},
    "bf16": {"torch": 21825.0},
}

BACKENDS = ("torch", "onnxruntime")  # that run on CUDA


def fastest_first(precision: str) -> list[str]:
    """Backends that run on CUDA: those measured in that precision, by their rate, then the others."""
    rates = ON_CUDA.get(precision, {})
    return sorted(BACKENDS, key=lambda name: -rates.get(name, 0.0))


def is_measured(backend: str, precision: str) -> bool:
    return backend in ON_CUDA.get(precision, {})


def why_on_cuda(backend: str, precision: str) -> str:
    """Why `auto` takes a backend, in words for the user."""
    rates = ON_CUDA.get(precision, {})
    if backend not in rates:
        return f"{backend} has not been measured on a GPU in {precision}"
    others = [name for name in rates if name != backend]
    if not others:
        return f"{backend}, which alone has been measured on a GPU in {precision}"
    if rates[backend] < max(rates.values()):
        return f"{backend}, since {either(others)}, which is faster, does not run here"
    return f"{backend}, the faster in {precision} by measurement ({rates[backend]:,.0f} images/s on an {CARD})"
