"""Images in every form give equal embeddings; what embedding and asking again cost beside `predict`.

    python benchmarks/embeddings.py [--films 1000] [--kept 100000] [--stream 100000] [--out FILE]

- 100 drawn films as paths, bytes, arrays, Pillow images and pydicom datasets: equal embeddings, bit for bit.
- `Screener.embed` and `Screener.predict` of the same films without a cache, one after the other in turns: the ratio of
  their seconds (median of the pairs).
- `Screener.score` of kept embeddings with a new label, after the text encoder is open.
- A generator of pictures: how much the memory of the process grows between the first tenth of them and the end. They
  are known to the cache, so that this takes minutes.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from PIL import Image

from cxrzero import Embeddings, Prediction, Screener
from cxrzero.files import software
from cxrzero.phantom import draw
from tests.support.films import film

LABELS = ["pneumonia", "edema", "pneumothorax", "cardiomegaly", "pleural effusion"]
PAIRS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--films", type=int, default=1000)
    parser.add_argument("--kept", type=int, default=100_000)
    parser.add_argument("--stream", type=int, default=100_000)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        log: dict[str, Any] = {"films_of_each_form": 100, "differing_embeddings": forms(work)}
        log |= beside_predict(work, options.films) | asked(options.kept) | streamed(work, options.stream)
    log["versions"] = software(("numpy", "pillow", "pydicom", "onnxruntime-gpu"))
    text = json.dumps(log, indent=2) + "\n"
    print(text, end="")
    if options.out:
        options.out.write_text(text, "utf-8")


def forms(work: Path) -> int:
    """How many embeddings of 100 films differ between the forms that they come in."""
    paths = drawn(work / "forms", 100)
    with Screener(cache=False) as screener:
        expected = screener.embed(paths).numpy()
        pixels = [np.asarray(Image.open(path)) for path in paths]
        given: list[list[Any]] = [
            [path.read_bytes() for path in paths],
            list(pixels),
            [Image.fromarray(each) for each in pixels],
            [Image.open(path) for path in paths],
        ]
        found = [screener.embed(images).numpy() for images in given]
        dicom = [work / f"{seed}.dcm" for seed in range(100)]
        for seed, path in enumerate(dicom):
            film(str(path), seed)
        files = screener.embed(dicom).numpy()
        datasets = screener.embed([pydicom.dcmread(path) for path in dicom]).numpy()
    pairs = [*((expected, each) for each in found), (files, datasets)]
    return sum(int((one != other).any(axis=1).sum()) for one, other in pairs)


def beside_predict(work: Path, count: int) -> dict[str, Any]:
    paths = drawn(work / "many", count)
    with Screener(cache=False) as screener:
        screener.predict(paths[:32], LABELS)  # opens the encoders
        ratios = []
        for _ in range(PAIRS):
            began = time.perf_counter()
            screener.predict(paths, LABELS)
            middle = time.perf_counter()
            screener.embed(paths)
            ratios.append((time.perf_counter() - middle) / (middle - began))
    return {"films": count, "embed_to_predict": [round(ratio, 3) for ratio in ratios],
            "embed_to_predict_median": round(statistics.median(ratios), 3)}  # fmt: skip


def asked(count: int) -> dict[str, Any]:
    with Screener(cache=False) as screener:
        origin = screener.origin()
        vectors = np.random.default_rng(0).normal(size=(count, origin.embed_dim)).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        rows = [Prediction(f"{number}.png", (), "ok", 1) for number in range(count)]
        kept = Embeddings(rows, vectors, origin)
        screener.embed_texts(["pneumonia"])  # opens the text encoder
        began = time.perf_counter()
        screener.score(kept, ["a widened mediastinum"])
        return {"kept": count, "score_seconds": round(time.perf_counter() - began, 2)}


def streamed(work: Path, count: int) -> dict[str, Any]:
    pictures = [np.asarray(draw(seed).to_uint8())[::4, ::4].copy() for seed in range(8)]

    def films() -> Iterator[Any]:
        for number in range(count):
            yield pictures[number % len(pictures)]

    early = 0
    with Screener(cache=work / "cache", cache_by="content") as screener:
        screener.predict(pictures, ["edema"])
        for number, _ in enumerate(screener.iter(films(), ["edema"])):
            if number == count // 10:
                early = peak_mb()
    return {"streamed": count, "peak_mb_after_a_tenth": early, "peak_mb_at_the_end": peak_mb()}


def peak_mb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def drawn(folder: Path, count: int) -> list[Path]:
    folder.mkdir()
    paths = [folder / f"{number}.png" for number in range(count)]
    for number, path in enumerate(paths):
        pixels = draw(number % 20).to_uint8()
        Image.fromarray(pixels[::2, ::2] ^ np.uint8(number // 20)).save(path)
    return paths


if __name__ == "__main__":
    main()
