"""A GPU: how fast each backend encodes on it in each precision, and how far it is from the CPU's fp32; films to scores.

    python benchmarks/gpu.py [--archs ViT-B-32-quickgelu,ViT-B-16-quickgelu] [--out FILE]

Random weights in CheXzero's layout. Encoding alone: batches of 1,024 drawn films in calls of 64, 128 and 256 rows, each
backend and precision in a process of its own; Δd as in end_to_end.py, from ONNX Runtime's fp32 on the CPU. Peak memory
is the increase that nvidia-smi shows. Then `cxrzero predict` over drawn PNGs with all cores decoding; its bound is
the slower of decoding with preprocessing alone (all cores) and encoding alone.

`--device cpu --rows 16 --calls 8` tries the program on a machine without a GPU; its figures then say nothing about one.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.archive import draw_films, fill, predict
from benchmarks.end_to_end import make_model
from cxrzero.backends import open_encoder
from cxrzero.bench.films import open_films
from cxrzero.bench.machine import machine, versions
from cxrzero.bench.stages import decode_rate, preprocess_rate
from cxrzero.bench.stopwatch import measure as measure_rate
from cxrzero.convert.variants import measure
from cxrzero.errors import CxrzeroError
from cxrzero.images.radiograph import DecodeOptions
from cxrzero.member import Member
from cxrzero.model.bundle import load_bundle
from cxrzero.model.preprocess import Preprocess
from cxrzero.screener import Screener

WAYS = (
    ("onnxruntime", "fp32"),
    ("onnxruntime", "fp16"),
    ("torch", "fp32"),
    ("torch", "bf16"),
    ("torch", "fp16"),
)
# Dense TFLOP/s without sparsity: (fp32 outside tensor cores, fp16 and bf16 in them). NVIDIA's data sheets.
PEAKS = {"NVIDIA H100 80GB HBM3": (67, 989), "NVIDIA H200": (67, 989), "NVIDIA L4": (30.3, 121), "Tesla T4": (8.1, 65)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--archs", default="ViT-B-32-quickgelu,ViT-B-16-quickgelu", help="open_clip's names")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--ways", help="backend:precision, separated by commas; default: all")
    parser.add_argument("--rows", type=int, default=1024, help="films of one batch")
    parser.add_argument("--calls", default="64,128,256", help="rows of one call")
    parser.add_argument("--films", type=int, default=4000, help="of end to end; 0 leaves it out")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each rate")
    parser.add_argument("--work", type=Path, help="keeps films and models for the next time")
    parser.add_argument("--out", type=Path, help="JSON of the result")
    args = parser.parse_args()
    ways = [(way.split(":")[0], way.split(":")[1]) for way in args.ways.split(",")] if args.ways else WAYS
    report: dict[str, Any] = {"machine": machine(), "gpu": gpu_name(args.device), "versions": versions()}
    print(json.dumps(report))
    with tempfile.TemporaryDirectory() as temporary:
        work = args.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        drawn = work / "drawn"
        films = sorted(drawn.iterdir()) if drawn.exists() else draw_films(drawn, 1024)
        report["encode"], report["whole"] = [], []
        for arch in args.archs.split(","):
            (work / arch).mkdir(exist_ok=True)
            make_model(work / arch, arch, ("fp16", "bf16"))
            exact = differences(work / arch / "bundle", films)
            rows = [row for way in ways for row in encode(arch, work / arch / "bundle", films, exact, way, args)]
            report["encode"] += rows
            if args.films:
                report["whole"] += whole(arch, work, films, rows, ways, args)
    if args.out:
        args.out.write_text(json.dumps(report, indent=2) + "\n")


def gpu_name(device: str) -> str:
    return nvidia_smi("name") if device == "cuda" else ""


def nvidia_smi(query: str) -> str:
    """The first GPU's answer."""
    command = ["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader,nounits"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[0].strip()


def differences(folder: Path, films: list[Path]) -> np.ndarray:
    """(N, labels) d of each film, ONNX Runtime in fp32 on the CPU."""
    rows = Screener(folder, device="cpu", backend="onnxruntime", cache=False).predict(films)
    return np.array([[row.cos_pos[label] - row.cos_neg[label] for label in row.scores] for row in rows])


def encode(
    arch: str, folder: Path, films: list[Path], exact: np.ndarray, way: tuple[str, str], args: argparse.Namespace
) -> Iterator[dict[str, Any]]:
    """One backend and precision in a process of its own, a row for each size of its calls."""
    for calls in map(int, args.calls.split(",")):
        with (
            gpu_memory(args.device) as peak,
            ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool,
        ):
            found = pool.submit(
                encode_alone, folder, films, way, args.device, args.rows, calls, args.seconds, exact
            ).result()
        row = {"arch": arch, "backend": way[0], "precision": way[1], "calls": calls, **found}
        if "images_per_second" in row:
            row["tflops"] = row["images_per_second"] * flops(folder, arch) / 1e12
            row["share_of_peak"] = share_of_peak(row["tflops"], way[1], args.device)
            row["gpu_mb"] = max(peak) - peak[0]
        print(" ".join(f"{key} {value:.4g}" if isinstance(value, float) else f"{value}" for key, value in row.items()))
        yield row


def encode_alone(
    folder: Path,
    films: list[Path],
    way: tuple[str, str],
    device: str,
    rows: int,
    calls: int,
    seconds: float,
    exact: np.ndarray,
) -> dict[str, Any]:
    bundle = load_bundle(folder)
    try:
        encoder = open_encoder(bundle, way[0], device, way[1])  # type: ignore[arg-type]
        screener = Screener(folder, device="cpu", cache=False)
        pictures = [next(screener.decode(str(path))).pixels for path in films]
        prepared = np.stack([screener.member.preprocess(pixels) for pixels in pictures])
        encoder.fixed_batch = calls  # type: ignore[attr-defined]
        member = screener.member
        own = Member(bundle, member.tokenizer, member.preprocess, encoder, None)
        scores = own.classifier(screener.prompts())(encoder.encode_images(prepared))
        d = scores.cos_pos.astype(np.float64) - scores.cos_neg
        found = measure(exact, d, way[1])
        batch = prepared[np.arange(rows) % len(prepared)]
        rate = measure_rate(lambda: encoder.encode_images(batch), rows, seconds)
    except CxrzeroError as error:
        return {"error": str(error)}
    return {
        "reason": encoder.reason,
        "images_per_second": rate.images_per_second,
        "max_abs_d_over_sd": found.max_abs_d_over_sd,
        "spearman": found.spearman,
        "max_abs_d": float(np.abs(d - exact).max()),
    }


def whole(
    arch: str,
    work: Path,
    films: list[Path],
    rows: list[dict[str, Any]],
    ways: Sequence[tuple[str, str]],
    args: argparse.Namespace,
) -> Iterator[dict[str, Any]]:
    """The command over many films with each backend and precision, beside its bound."""
    folder = work / f"archive{args.films}"
    if not folder.exists():
        fill(folder, films, args.films)
    bundle = load_bundle(work / arch / "bundle")
    some = open_films([str(path) for path in films], 32, DecodeOptions())
    cores = machine()["cores"]
    ahead = [
        decode_rate(some, DecodeOptions(), 1, args.seconds),
        preprocess_rate(some, Preprocess(bundle.preprocess, bundle.image_size), args.seconds),
    ]
    before = 1000 * int(cores) / sum(rate.core_ms for rate in ahead)
    for backend, precision in ways:
        same = [row for row in rows if (row["backend"], row["precision"]) == (backend, precision)]
        alone = max((row.get("images_per_second", 0.0) for row in same), default=0.0)
        if not alone:
            continue
        options = ["--device", args.device, "--backend", backend, "--precision", precision, "--no-cache", "--overwrite"]
        with gpu_memory(args.device) as peak:
            wall, busy, peak_mb = predict(folder, work, [str(bundle.path), *options])
        rate, bound = args.films / wall, min(before, alone)
        row = {"arch": arch, "backend": backend, "precision": precision, "images_per_second": rate}
        row |= {"decoding_alone": before, "encoding_alone": alone, "share_of_bound": rate / bound}
        row |= {"core_ms": 1000 * busy / args.films, "peak_mb": peak_mb, "gpu_mb": max(peak) - peak[0]}
        print(" ".join(f"{key} {value:.4g}" if isinstance(value, float) else f"{value}" for key, value in row.items()))
        yield row


def flops(folder: Path, arch: str) -> float:
    """Of one picture through a ViT-B: products of patches and of 12 layers of width 768, the last for one token."""
    patch, width, layers = int(arch.split("-")[2]), 768, 12
    patches = (load_bundle(folder).image_size[0] // patch) ** 2
    tokens = patches + 1
    layer = 24 * tokens * width**2 + 4 * tokens**2 * width
    last = (4 * tokens + 20) * width**2 + 4 * tokens * width  # keys and values of all tokens, all else of one
    return 2 * patches * 3 * patch**2 * width + (layers - 1) * layer + last


def share_of_peak(tflops: float, precision: str, device: str) -> float | None:
    peaks = PEAKS.get(gpu_name(device))
    return None if peaks is None else tflops / peaks[precision != "fp32"]


@contextmanager
def gpu_memory(device: str) -> Iterator[list[float]]:
    """Megabytes in use, read several times a second; the first before anything was started."""
    found = [float(nvidia_smi("memory.used")) if device == "cuda" else 0.0]
    over = threading.Event()

    def watch() -> None:
        while device == "cuda" and not over.wait(0.2):
            found.append(float(nvidia_smi("memory.used")))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield found
    finally:
        over.set()
        thread.join()


if __name__ == "__main__":
    main()
