"""Measures where the maps of a model point, with what they would do by chance beside, and what a film costs.

    python benchmarks/heatmaps.py --data ../shared/data --model models/cxrzero-mini [--drawn 40] [--boxed 60]

Drawn: films that their source calls normal, of patients that no training saw, with a finding on each. What is added is
the difference of two phantoms of one person, one with the finding and one without (`cxrzero.phantom`); a mass is a
round shadow of 5 to 8 cm. A peak hits if it lies where the film was changed. Boxed: NIH's boxes on films of the part
"boxed" (recipes/mini_films.py); a peak hits if it lies in a box of that finding. Share is the part of the film that
the boxes cover on average, which a peak anywhere would hit. Beside the model stand its own image weights in random
order, and texts of other findings. With Wilson 95% intervals; a patient has more than one film at times.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy.ndimage import gaussian_filter

sys.path.insert(0, str(Path(__file__).parent.parent))

from cxrzero import Screener
from cxrzero.heatmap.films import Film, film_of
from cxrzero.heatmap.mapper import Mapper
from cxrzero.heatmap.methods import Method
from cxrzero.heatmap.patches import Patches
from cxrzero.images.radiograph import Radiograph
from cxrzero.model.bundle import describe_files, load_bundle
from cxrzero.model.model_json import Scoring
from cxrzero.model.score import Classifier
from cxrzero.model.weights import IMAGE_WEIGHTS, stored_tensors
from cxrzero.phantom import Finding, draw
from cxrzero.sources import ImageRef
from cxrzero.stats.intervals import wilson
from recipes.mini_boxes import ORIGINAL
from recipes.mini_films import films, rows_of

Grey = npt.NDArray[np.uint8]
Hits = dict[str, list[bool]]

SIDE = 512  # of drawn films
WORDS = {  # NIH's word in the table of boxes → as it is asked
    "Atelectasis": "atelectasis", "Cardiomegaly": "cardiomegaly", "Effusion": "pleural effusion",
    "Infiltrate": "infiltration", "Mass": "mass", "Nodule": "nodule", "Pneumonia": "pneumonia",
    "Pneumothorax": "pneumothorax",
}  # fmt: skip
DRAWN = ("pleural effusion", "pneumothorax", "mass", "consolidation")


@dataclass(frozen=True)
class Case:
    """A film and where its finding is, (H, W)."""

    label: str
    pixels: Grey
    where: npt.NDArray[np.bool_]


def drawn_cases(data: Path, count: int) -> Iterator[Case]:
    """`count` films, each with one finding of DRAWN in turn."""
    unseen = [f for f in films(data) if f.part in ("held", "val") and f.source == "nih" and f.normal and f.size >= 256]
    for number, place in enumerate(np.random.default_rng(0).permutation(len(unseen))[:count]):
        with Image.open(data / unseen[place].path) as opened:
            film = np.asarray(opened.convert("L").resize((SIDE, SIDE), Image.Resampling.BICUBIC), np.float64)
        label = DRAWN[number % len(DRAWN)]
        side, zone = ("left", "right")[number // 4 % 2], ("upper", "mid", "lower")[number // 8 % 3]
        change = _mass(film, number, side) if label == "mass" else _difference(label, number, side, zone)
        smooth = np.abs(gaussian_filter(change, 4))
        pixels = np.clip(np.rint(film + change), 0, 255).astype(np.uint8)
        yield Case(label, pixels, smooth > 0.3 * smooth.max())


def _difference(label: str, seed: int, side: str, zone: str) -> npt.NDArray[np.float64]:
    finding = Finding(label, side, zone if label == "consolidation" else "", 0.8)  # type: ignore[arg-type]
    look = draw(seed, 64).look
    with_it, without = (draw(seed, SIDE, each, look=look).to_uint8().astype(float) for each in ([finding], []))
    return np.asarray(with_it - without)


def _mass(film: npt.NDArray[np.float64], seed: int, side: str) -> npt.NDArray[np.float64]:
    """A round shadow in a lung; a film is about 40 cm wide."""
    rng = np.random.default_rng([seed, 1])
    y, x = (np.mgrid[0:SIDE, 0:SIDE] + 0.5) / SIDE
    centre, radius = (rng.uniform(0.3, 0.6), 0.27 if side == "right" else 0.74), rng.uniform(2.5, 4) / 40
    inside = 1 / (1 + np.exp((np.hypot(y - centre[0], x - centre[1]) - radius) * 150))
    return np.asarray(0.85 * inside * np.maximum(np.quantile(film, 0.85) - film, 0))


def boxed_cases(data: Path, count: int) -> Iterator[Case]:
    """Films of the part "boxed", each with its boxes of one finding."""
    kept = {film.name: film for film in films(data) if film.part == "boxed"}
    boxes: dict[tuple[str, str], list[list[float]]] = defaultdict(list)
    for row in rows_of(data / "nih_boxes.csv"):
        name = Path(row["image_index"]).stem
        if name in kept:
            boxes[name, row["finding"]].append([float(row[key]) / ORIGINAL for key in ("x", "y", "width", "height")])
    order = np.random.default_rng(0).permutation(len(boxes))[:count]
    keys = sorted(boxes)
    for name, finding in (keys[place] for place in sorted(order)):
        with Image.open(data / kept[name].path) as opened:
            pixels = np.asarray(opened.convert("L"))
        y, x = ((np.arange(side) + 0.5) / side for side in pixels.shape)
        where = np.zeros(pixels.shape, bool)
        for left, top, width, height in boxes[name, finding]:
            where |= ((y >= top) & (y < top + height))[:, None] & (x >= left) & (x < left + width)
        yield Case(WORDS[finding], pixels, where)


def hits_of(
    screener: Screener, cases: Sequence[Case], method: Method, *, shuffled: bool = False, less_common: bool = False
) -> tuple[Hits, float]:
    """Label → whether each peak hits; and processor seconds per film.

    Args:
        shuffled: ask for each finding by the words of the next one.
        less_common: take off what the model's own labels have in common, as CLIP Surgery does.
    """
    labels = list(dict.fromkeys(case.label for case in cases))
    asked = [labels[(place + shuffled) % len(labels)] for place in range(len(labels))]
    found: Hits = {label: [] for label in labels}
    seconds = 0.0
    for label, words in zip(labels, asked, strict=True):
        mapper = Mapper(screener.members, screener.prompts([words]), method, screener.batch_size)
        if less_common:
            mapper._patches = Patches(screener.member, _less_common(screener, words))
        for case in (each for each in cases if each.label == label):
            started = time.process_time()
            (maps,) = mapper([_film(screener, case.pixels)])
            seconds += time.process_time() - started
            x, y = maps.peak(0)
            found[label].append(bool(case.where[y, x]))
    return found, seconds / len(cases)


def _less_common(screener: Screener, words: str) -> Classifier:
    """d less the mean d of the model's own labels."""
    one, all_of = (screener.member.classifier(screener.prompts(labels)) for labels in ([words], None))
    common = (all_of.positive - all_of.negative).mean(axis=0)
    return Classifier(one.positive - common, one.negative, Scoring("softmax_pair", 1.0))


def _film(screener: Screener, pixels: Grey) -> Film:
    geometries = [member.preprocess.fit for member in screener.members]
    return film_of(ImageRef("film"), Radiograph(pixels), geometries, draw=False)


def permuted(model: Path, folder: Path) -> Path:
    """A copy of the model, in each tensor of whose image encoder the numbers stand in random order."""
    shutil.copytree(model, folder, ignore=shutil.ignore_patterns("checkpoints", "store", "*.lock"))
    rng, whole = np.random.default_rng(0), np.fromfile(model / IMAGE_WEIGHTS, np.uint8)
    for graph in ("image_encoder.onnx", "patch_encoder.onnx"):
        for stored in stored_tensors(model / graph):
            numbers = whole[stored.offset : stored.offset + stored.length]
            numbers[:] = rng.permutation(numbers.view(stored.dtype)).view(np.uint8)
    whole.tofile(folder / IMAGE_WEIGHTS)
    card = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    kept = {name: entry for name, entry in card["files"].items() if name == "calibration.json"}
    (folder / "model.json").write_text(json.dumps(card | {"files": describe_files(folder) | kept}), encoding="utf-8")
    load_bundle(folder)
    return folder


def print_table(title: str, cases: Sequence[Case], columns: dict[str, Hits], log: dict[str, object]) -> None:
    print(f"\n{title}\n\n| | films | share | " + " | ".join(columns) + " |")
    print("|---" * (len(columns) + 3) + "|")
    rows = {}
    for label in [*dict.fromkeys(case.label for case in cases), "all"]:
        of_label = [case for case in cases if label in ("all", case.label)]
        share = float(np.mean([case.where.mean() for case in of_label]))
        cells, row = [], {"films": len(of_label), "share": round(share, 3)}
        for name, hits in columns.items():
            found = hits[label] if label != "all" else [hit for each in hits.values() for hit in each]
            rate = wilson(sum(found), len(found), 0.95)
            cells.append(f"{rate.value:.2f} ({rate.low:.2f} to {rate.high:.2f})")
            row[name] = [round(float(v), 3) for v in (rate.value, rate.low, rate.high)]
        rows[label] = row
        print(f"| {label} | {len(of_label)} | {share:.3f} | " + " | ".join(cells) + " |")
    log[title] = rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--drawn", type=int, default=40)
    parser.add_argument("--boxed", type=int, default=60)
    parser.add_argument("--methods", nargs="+", choices=["patch", "occlusion"], default=["patch", "occlusion"])
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    log: dict[str, object] = {"model": load_bundle(given.model).fingerprint}
    screener = Screener(given.model, device="cpu", cache=False, batch_size=32)
    with tempfile.TemporaryDirectory() as folder:
        random = Screener(permuted(given.model, Path(folder) / "random"), device="cpu", cache=False, batch_size=32)
        parts = {
            "Drawn": list(drawn_cases(given.data, given.drawn)),
            "Boxed": list(boxed_cases(given.data, given.boxed)),
        }
        for title, cases in parts.items():
            columns: dict[str, Hits] = {}
            for method in given.methods:
                columns[method], seconds = hits_of(screener, cases, method)
                log[f"{title}, processor seconds per film, {method}"] = round(seconds, 3)
                print(f"{title}, {method}: {seconds:.2f} processor seconds per film and label", flush=True)
            columns["patch, less what is common"] = hits_of(screener, cases, "patch", less_common=True)[0]
            columns["patch, other texts"] = hits_of(screener, cases, "patch", shuffled=True)[0]
            columns["patch, random weights"] = hits_of(random, cases, "patch")[0]
            print_table(title, cases, columns, log)
    if given.out:
        given.out.write_text(json.dumps(log, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
