"""A full-size ViT-B/32 in CheXzero's layout: what its import costs, and each backend and precision beside the others.

    python benchmarks/import_model.py [--films 64] [--seconds 6] [--out benchmarks/results/import_model.csv]

The weights are random, stored as the ten released files are (matrices in half precision). Imported by `cxrzero models
import --variants fp16,bf16,int8` as a user would; then every backend encodes the same drawn films in every precision
that it offers. The deviation is that of d = cos⁺ − cos⁻ from ONNX Runtime in fp32, of the worst of the bundle's labels.
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import open_clip
import torch

from cxrzero.backends import REQUIRED, missing_module, open_encoder
from cxrzero.backends.precision import offered
from cxrzero.bench.stopwatch import measure as measure_rate
from cxrzero.convert.variants import measure
from cxrzero.member import Member
from cxrzero.model.bundle import load_bundle
from cxrzero.model.model_json import FILES_OF_SCHEMA_3, TOKENIZER
from cxrzero.model.preprocess import Preprocess
from cxrzero.model.tokenizer import Tokenizer
from cxrzero.phantom import draw, sample_findings
from cxrzero.prompts import build_prompts

CHECKPOINT = "best_64_5e-05_original_22000_0.864.pt"  # a name that the registry knows, so nothing has to be said
BATCH = 16
FIRST_SEED = 50_000
COLUMNS = ("backend", "precision", "images_per_second", "max_abs_d_over_sd", "spearman", "max_abs_d", "file_mb")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--films", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=6.0, help="of each speed")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        rows = compare(make_bundle(Path(work)), options.films, options.seconds)
    if options.out:
        with options.out.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)


def make_bundle(work: Path) -> Path:
    torch.manual_seed(0)
    model = open_clip.model.CLIP(**open_clip.get_model_config("ViT-B-32-quickgelu")).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim >= 2 and "embedding" not in name:
                weight.mul_(1.5)  # the activations of fresh weights are too near zero to tell films apart
    torch.save({name: v.half() if v.ndim >= 2 else v for name, v in model.state_dict().items()}, work / CHECKPOINT)
    command = [sys.executable, "-m", "cxrzero", "models", "import", str(work / CHECKPOINT), "--out"]
    for folder, more in (("plain", []), ("bundle", ["--variants", "fp16,bf16,int8"])):
        started = time.perf_counter()
        subprocess.run([*command, str(work / folder), *more], check=True, capture_output=True)
        print(
            f"import{' with variants' * bool(more)}: {time.perf_counter() - started:.1f} s, {megabytes(work / folder)}"
        )
    return work / "bundle"


def megabytes(folder: Path) -> str:
    sizes = {path.name: path.stat().st_size / 1e6 for path in sorted(folder.iterdir())}
    encoders = ", ".join(f"{name} {sizes[name]:.0f}" for name in sizes if name.endswith((".onnx", ".bin")))
    base = sum(sizes[name] for name in FILES_OF_SCHEMA_3)
    return f"{base:.0f} MB as fp32 ({encoders})"


def compare(folder: Path, count: int, seconds: float) -> list[dict[str, object]]:
    bundle = load_bundle(folder)
    preprocess = Preprocess(bundle.preprocess, bundle.image_size)
    drawn = (
        draw(seed, 512, sample_findings(np.random.default_rng(seed))) for seed in range(FIRST_SEED, FIRST_SEED + count)
    )
    films = np.stack([preprocess(film.to_uint8()) for film in drawn])
    tokenizer = Tokenizer(bundle.file(TOKENIZER), bundle.context_length, bundle.pad_id)
    rows: list[dict[str, object]] = []
    exact = None
    print(f"{'backend':12} {'precision':9} {'images/s':>9} {'max Δd/sd':>10} {'Spearman':>9} {'max |Δd|':>9}")
    for backend in (name for name in REQUIRED if not missing_module(name)):
        for precision in offered(backend, "cpu", bundle):
            encoder = open_encoder(bundle, backend, "cpu", precision)  # type: ignore[arg-type]
            classifier = Member(bundle, tokenizer, preprocess, encoder, None).classifier(
                build_prompts(bundle.labels, bundle.templates)
            )
            embeds = np.concatenate([encoder.encode_images(films[i : i + BATCH]) for i in range(0, count, BATCH)])
            scores = classifier(embeds)
            d = scores.cos_pos.astype(np.float64) - scores.cos_neg
            exact = d if exact is None else exact
            found = measure(exact, d, precision)
            rate = measure_rate(lambda encoder=encoder: encoder.encode_images(films[:BATCH]), BATCH, seconds)
            size = sum(bundle.file(name).stat().st_size for name in bundle.image_encoder_files(precision)) / 1e6
            values = (
                round(rate.images_per_second, 1),
                found.max_abs_d_over_sd,
                found.spearman,
                np.abs(d - exact).max(),
            )
            print(
                f"{backend:12} {precision:9} {values[0]:9.1f} {values[1]:10.5f} {values[2]:9.5f} {values[3]:9.1e}",
                flush=True,
            )
            rows.append(
                dict(zip(COLUMNS, (backend, precision, *values[:3], f"{values[3]:.2e}", round(size)), strict=True))
            )
    return rows


if __name__ == "__main__":
    main()
