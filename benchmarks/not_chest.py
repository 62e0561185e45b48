"""Measures `maybe_not_chest_xray` as `predict` gives it: every picture of ../shared/data at its own size.

    python benchmarks/not_chest.py --data ../shared/data [--seen] [--misses misses.csv]

Counted are pictures that no training read: the val splits, covid and not_chest, and one patient (article) in eight of
the train splits, which the recipes hold out; with --seen the others too. The pictures of not_chest are
enlarged from 64 to 512 pixels, so that their size does not give them away. What a figure of roco shows is read from its
caption (recipes/captions.py), which makes mistakes; a caption that may mean a chest film counts on neither side.
Prints Markdown tables with Wilson 95% intervals.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.detectors import OTHERS, wilson
from cxrzero.images import GreyImage, decode
from cxrzero.images.detectors import NOT_CHEST_THRESHOLD, not_chest_score
from recipes.captions import MAYBE_CHEST, kind_of
from recipes.detector_sources import group_of, held_out

ENLARGED = 512
FILMS = ("nih", "nih64", "nih128", "nih_more", "kermany", "shenzhen", "hannover", "covid")


@dataclass(frozen=True)
class Item:
    """A picture, what it is called in the table, whether it should be flagged, and whether training saw it."""

    path: Path
    name: str
    other: bool
    unseen: bool


def items_of(data: Path) -> Iterator[Item]:
    for subset in (*FILMS, "roco"):
        for row in _rows(data / subset / f"{subset}.csv"):
            unseen = subset == "covid" or row.get("split") == "val" or held_out(group_of(subset, row))
            name, other = subset, False
            if subset == "covid":
                name = "covid, lateral" if row["view"] == "L" else "covid, frontal or unstated"
            if subset == "roco" and row["is_chest_xray"] == "1":
                name = "roco, chest film"
            elif subset == "roco":
                name, other = kind_of(row["text"]), True
                if name == MAYBE_CHEST:
                    continue
            yield Item(data / subset / row["image"], name, other, unseen)
    for row in _rows(data / "not_chest" / "not_chest.csv"):
        yield Item(data / "not_chest" / row["image"], f"not_chest, {row['kind']}, enlarged", True, True)
    for row in _rows(data / "dicom" / "dicom.csv"):
        other_name = OTHERS.get(row["file"])
        yield Item(data / "dicom" / row["file"], other_name or "DICOM", other_name is not None, True)


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def pixels_of(item: Item) -> GreyImage:
    (image, *_) = decode(item.path)
    if "enlarged" in item.name:
        return np.asarray(Image.fromarray(image.pixels).resize((ENLARGED, ENLARGED), Image.Resampling.BICUBIC))
    return image.pixels


def table(title: str, groups: dict[str, list[bool]]) -> None:
    """Of each group, how many were flagged."""
    print(f"\n| {title} | n | flagged | share | 95% interval |\n|---|---|---|---|---|")
    groups = {**groups, "**all**": [hit for hits in groups.values() for hit in hits]}
    for name, hits in groups.items():
        low, high = wilson(sum(hits), len(hits))
        print(f"| {name} | {len(hits)} | {sum(hits)} | {sum(hits) / len(hits):.4f} | {low:.4f} to {high:.4f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seen", action="store_true", help="count what was trained on too")
    parser.add_argument("--misses", type=Path, help="write every wrong answer to this CSV")
    args = parser.parse_args()
    items = [item for item in items_of(args.data) if item.unseen or args.seen]
    scores = [not_chest_score(pixels_of(item)) for item in items]
    for side, other in (("chest films, wrongly flagged", False), ("other pictures, rightly flagged", True)):
        groups: dict[str, list[bool]] = defaultdict(list)
        for item, score in zip(items, scores, strict=True):
            if item.other == other:
                groups[item.name].append(score >= NOT_CHEST_THRESHOLD)
        table(side, dict(sorted(groups.items())))
    if args.misses:
        with args.misses.open("w", newline="", encoding="utf-8") as file:
            out = csv.writer(file)
            out.writerow(["image", "kind", "other", "unseen", "score"])
            for item, score in zip(items, scores, strict=True):
                if item.other != (score >= NOT_CHEST_THRESHOLD):
                    out.writerow([item.path, item.name, item.other, item.unseen, f"{score:.4f}"])


if __name__ == "__main__":
    main()
