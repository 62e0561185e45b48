"""Five new labels over an archive whose embeddings are kept: the whole command and its memory, beside the first pass.

    python benchmarks/reask.py 10000 100000 1000000

For each size it makes that many files (empty, named .png: a second question opens none) and their cache entries (random
embeddings, facts of a DICOM file), then runs `cxrzero predict` several times, each on five labels that were never asked
before. Beside it: the first pass over phantoms, in the same run.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

from cxrzero.cache.images import FileRecord, StoredFrame
from cxrzero.images.radiograph import Facts
from cxrzero.phantom import draw
from cxrzero.screener import Screener
from cxrzero.sources import ImageRef, find_images

FILES_PER_FOLDER = 1000
ENTRIES_PER_COMMIT = 10_000
FIRST_PASS_FILMS = 60
LABELS = ("atelectasis", "pneumothorax", "hiatal hernia", "rib fracture", "consolidation")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sizes", type=int, nargs="+", metavar="N")
    parser.add_argument("--model", default="cxrzero-mini")
    parser.add_argument("--format", choices=("csv", "jsonl", "parquet"), default="csv")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    os.environ["CXRZERO_CACHE_MAX_GB"] = "100"
    with tempfile.TemporaryDirectory() as work:
        print(f"first pass: {first_pass(Path(work), options.model) * 1e3:.1f} ms an image")
    for size in options.sizes:
        with tempfile.TemporaryDirectory() as work:
            ask(Path(work), size, options)


def first_pass(work: Path, model: str) -> float:
    """Seconds an image, of the run itself: decoding and encoding phantoms of 512 × 512 pixels."""
    films = work / "films"
    films.mkdir()
    for seed in range(FIRST_PASS_FILMS):
        Image.fromarray(draw(seed).to_uint8()).save(films / f"{seed}.png")
    out = work / "first.csv"
    predict(films, out, LABELS, model, work / "cache")
    seconds: float = json.loads(out.with_suffix(".run.json").read_text())["seconds"]["wall"]
    return seconds / FIRST_PASS_FILMS


def ask(work: Path, size: int, options: argparse.Namespace) -> None:
    films, cache = work / "films", work / "cache"
    started = time.perf_counter()
    make_files(films, size)
    os.environ["CXRZERO_CACHE_DIR"] = str(cache)
    fill_cache(films, options.model)
    print(f"{size:,} files, made in {time.perf_counter() - started:.0f} s")
    out = work / f"table.{options.format}"
    walls, processor, peaks = [], [], []
    for number in range(options.repeats):
        labels = [f"{label} {'again ' * number}".strip() for label in LABELS]
        wall, busy, peak = predict(films, out, labels, options.model, cache)
        counts = json.loads(out.with_suffix(".run.json").read_text())["cache"]
        if (counts["cached"], counts["embedded"]) != (size, 0):
            sys.exit(f"not all was cached: {counts}")
        walls.append(wall)
        processor.append(busy)
        peaks.append(peak)
    median = statistics.median(walls)
    print(
        f"  {len(LABELS)} new labels: {median:.2f} s wall ({min(walls):.2f} to {max(walls):.2f}), "
        f"{statistics.median(processor):.2f} s of processor time, {median / size * 1e6:.1f} µs an image, "
        f"peak {max(peaks):.0f} MB"
    )


def make_files(films: Path, size: int) -> None:
    for number in range(size):
        folder = films / f"{number // FILES_PER_FOLDER:04}"
        if number % FILES_PER_FOLDER == 0:
            folder.mkdir(parents=True)
        (folder / f"{number:07}.png").touch()


def fill_cache(films: Path, model: str) -> None:
    """Entries as a first pass over single-frame DICOM files would leave them."""
    screener = Screener(model, device="cpu")
    cache = screener.member.embedder(screener.decode_options).cache
    assert cache is not None
    rng = np.random.default_rng(0)
    refs = find_images([str(films)])
    while block := list(islice(refs, ENTRIES_PER_COMMIT)):
        cache.keep(list(zip(block, records(block, screener.member.bundle.embed_dim, rng), strict=True)))


def records(refs: list[ImageRef], embed_dim: int, rng: np.random.Generator) -> Iterator[FileRecord]:
    embeds = rng.normal(size=(len(refs), embed_dim)).astype(np.float32)
    embeds /= np.linalg.norm(embeds, axis=1, keepdims=True)
    for row, digest in zip(embeds, rng.integers(2**63, size=len(refs)).tolist(), strict=True):
        uids = (f"2.25.{digest}{part}" for part in range(3))
        facts = Facts("DX", "PA", "MONOCHROME2", *uids)
        yield FileRecord((StoredFrame(1, facts, frozenset({"view_unknown"}), digest, row.astype("<f4").tobytes()),))


def predict(
    films: Path, out: Path, labels: list[str] | tuple[str, ...], model: str, cache: Path
) -> tuple[float, float, float]:
    """Wall seconds, processor seconds and peak MB of the whole command."""
    command = [sys.executable, "-m", "cxrzero", "predict", str(films), "--labels", ",".join(labels), "--model", model]
    command += ["--out", str(out), "--overwrite", "--quiet", "--device", "cpu"]
    environment = {**os.environ, "CXRZERO_CACHE_DIR": str(cache)}
    started = time.perf_counter()
    process = subprocess.Popen(command, env=environment)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - started
    if status:
        sys.exit(f"{' '.join(command)} ended with status {status}")
    return wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024  # Linux counts kB


if __name__ == "__main__":
    main()
