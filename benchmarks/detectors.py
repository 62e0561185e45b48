"""Measures `maybe_inverted` and `maybe_not_chest_xray` on pictures that they were not trained on.

    python benchmarks/detectors.py --data ../shared/data [--side 64] [--misses misses.csv]

Every picture is first squeezed to side × side pixels with one filter, so that neither the size nor the shape of a
source gives its class away. Chest films: the val splits, and covid (whole; none of it was trained on). Others: the
val split of roco, not_chest by kind, a dog. Negatives are 255 − pixels of the chest films. Prints a Markdown table of
specificity (chest films that are not flagged) and sensitivity (others that are flagged) with Wilson 95% intervals.
The labels of roco come from captions, and some are wrong; they are counted as they stand.
"""

from __future__ import annotations

import argparse
import csv
import math
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from cxrzero.images import GreyImage, decode
from cxrzero.images.detectors import INVERTED_THRESHOLD, NOT_CHEST_THRESHOLD, Detections, detect

# Of the DICOM files, what shows no human chest.
OTHERS = {"nema_wg04_RG2_JPLY.dcm": "hip, DICOM", "dog_thorax_dx.dcm": "dog's thorax, DICOM"}


def wilson(hits: int, n: int) -> tuple[float, float]:
    """95% interval of a proportion (Wilson 1927)."""
    z, p = 1.959964, hits / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def pictures(data: Path) -> Iterator[tuple[str, bool, Path]]:
    """(source, is a chest film, path) of every picture kept for testing."""
    for subset in ("kermany", "nih", "nih128", "shenzhen", "roco"):
        for row in _rows(data / subset / f"{subset}.csv"):
            if row["split"] == "val":
                yield subset, row.get("is_chest_xray", "1") == "1", data / subset / row["image"]
    for row in _rows(next((data / "covid").glob("*.csv"))):
        yield "covid lateral" if row["view"] == "L" else "covid", True, data / "covid" / row["image"]
    for row in _rows(next((data / "not_chest").glob("*.csv"))):
        yield row["kind"], False, data / "not_chest" / row["image"]
    for row in _rows(data / "dicom" / "dicom.csv"):
        other = OTHERS.get(row["file"])
        yield other or "DICOM", other is None, data / "dicom" / row["file"]


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def squeezed(path: Path, side: int) -> GreyImage:
    """(side, side) uint8."""
    (image, *_) = decode(path)
    return np.asarray(Image.fromarray(image.pixels).resize((side, side), Image.Resampling.BICUBIC, reducing_gap=3))


def line(name: str, hits: Iterable[bool]) -> str:
    hits = list(hits)
    low, high = wilson(sum(hits), len(hits))
    return f"| {name} | {len(hits)} | {sum(hits) / len(hits):.3f} | {low:.3f} to {high:.3f} |"


def table(title: str, groups: dict[str, list[bool]]) -> None:
    print(f"\n| {title} | n | value | 95% interval |\n|---|---|---|---|")
    for name, hits in groups.items():
        print(line(name, hits))
    print(line("**all**", [hit for hits in groups.values() for hit in hits]))


def milliseconds(pixels: GreyImage, repeats: int = 50) -> float:
    """Median time of both scores."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        detect(pixels)
        times.append(time.perf_counter() - start)
    return 1000 * float(np.median(times))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--side", type=int, default=64, help="every picture is squeezed to this size first")
    parser.add_argument("--misses", type=Path, help="write every wrong answer to this CSV")
    args = parser.parse_args()

    found: dict[tuple[str, bool], list[tuple[Path, Detections, Detections]]] = defaultdict(list)
    for source, chest, path in pictures(args.data):
        pixels = squeezed(path, args.side)
        found[source, chest].append((path, detect(pixels), detect(255 - pixels)))
    films = {source: seen for (source, chest), seen in found.items() if chest}
    others = {source: seen for (source, chest), seen in found.items() if not chest}

    print(f"every picture {args.side} × {args.side}; thresholds {INVERTED_THRESHOLD} and {NOT_CHEST_THRESHOLD}")
    upright = {s: [a.inverted < INVERTED_THRESHOLD for _, a, _ in seen] for s, seen in films.items()}
    table("maybe_inverted: specificity", upright)
    table(
        "maybe_inverted: sensitivity",
        {s: [b.inverted >= INVERTED_THRESHOLD for *_, b in seen] for s, seen in films.items()},
    )
    kept = {s: [a.not_chest < NOT_CHEST_THRESHOLD for _, a, _ in seen] for s, seen in films.items()}
    table("maybe_not_chest_xray: specificity", kept)
    flagged = {s: [a.not_chest >= NOT_CHEST_THRESHOLD for _, a, _ in seen] for s, seen in others.items()}
    table("maybe_not_chest_xray: sensitivity", flagged)
    if args.misses:
        with args.misses.open("w", newline="", encoding="utf-8") as file:
            out = csv.writer(file)
            out.writerow(["detector", "source", "chest", "image", "score"])
            for (source, chest), seen in found.items():
                for path, a, _ in seen:
                    if chest and a.inverted >= INVERTED_THRESHOLD:
                        out.writerow(["inverted", source, chest, path, f"{a.inverted:.4f}"])
                    if chest != (a.not_chest < NOT_CHEST_THRESHOLD):
                        out.writerow(["not_chest", source, chest, path, f"{a.not_chest:.4f}"])
    film = np.random.default_rng(0).integers(0, 256, (3000, 2500), dtype=np.uint8)
    large, small = milliseconds(film), milliseconds(film[:224, :224])
    print(f"\nboth scores of a decoded 3000 × 2500 film: {large:.2f} ms; of 224 × 224: {small:.2f} ms")


if __name__ == "__main__":
    main()
