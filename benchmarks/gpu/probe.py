"""The machine, the libraries and which distribution they come from, and what is missing for which rows."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path

from benchmarks.gpu.device import Card
from benchmarks.wheels import origin
from cxrzero.bench.machine import machine, versions

# What rows need → modules that it takes; all beside what every run needs.
MODULES = {
    "torch": ("torch",),
    "models": ("torch", "torchvision", "onnx", "onnxruntime", "open_clip"),
    "dicom": ("pydicom", "imagecodecs"),
    "pytest": ("pytest",),
    "nvimgcodec": ("nvidia.nvimgcodec",),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--site", type=Path, required=True, help="where wheels were installed")
    args = parser.parse_args()
    found: dict[str, object] = {"machine": machine(), "versions": versions()}
    lacks = {name: f"{module} cannot be imported" for name, module in missing()}
    if args.device == "cuda":
        try:
            card = Card()
            found |= {"gpu": card.name, "driver": card.driver, "gpu_total_mb": card.total_mb}
        except OSError as error:
            lacks |= dict.fromkeys(("cuda", "torch", "onnxruntime"), f"no GPU was found: {error}")
        for name, reason in (("torch", of_torch), ("onnxruntime", of_onnxruntime)):
            if name not in lacks and (why := reason(found)):
                lacks[name] = why
    found |= {name: origin(name, args.site) for name in ("onnxruntime", "torch", "imagecodecs", "pydicom")}
    print(json.dumps(found | {"lacks": lacks}))


def missing() -> Iterator[tuple[str, str]]:
    for name, modules in MODULES.items():
        for module in modules:
            try:
                is_there = importlib.util.find_spec(module) is not None
            except ModuleNotFoundError:  # of the package above it
                is_there = False
            if not is_there:
                yield name, module
                break


def of_torch(found: dict[str, object]) -> str | None:
    torch = importlib.import_module("torch")
    found["torch_cuda"] = torch.version.cuda
    return None if torch.cuda.is_available() else f"torch {torch.__version__} finds no usable GPU"


def of_onnxruntime(found: dict[str, object]) -> str | None:
    onnxruntime = importlib.import_module("onnxruntime")
    found["onnxruntime_cuda"] = getattr(onnxruntime, "cuda_version", None)
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        return None
    return f"the onnxruntime {onnxruntime.__version__} that is imported was built without CUDA"


if __name__ == "__main__":
    main()
