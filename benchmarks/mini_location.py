"""Where a model looks: hit rate and IoU on boxes that radiologists drew, on films that it was not trained on.

    python benchmarks/mini_location.py --data ../shared/data --model runs/mini/model
        [--record runs/mini/model] [--out benchmarks/results/mini_location.json]

The films are those of part "boxed" (recipes/mini_films.py) with one of NIH's boxes (BBox_List_2017), which no training
and no pseudo-label has seen; all films of a patient are of one part. Both methods of `cxrzero heatmap` are evaluated as
`cxrzero eval --boxes` does it, beside baselines that see no film, with intervals over patients (docs/location.md), and
timed: seconds of the clock, and of all processors, for a film with all its findings.

The same is done with ViT-B/32 of random weights (`--random` of them, by patches). A point anywhere hits the share of
the film that the boxes cover. A random model's maps point to much the same place in every film, often to an edge, where
no box is: so a finding's hit rate may be far from that share, and below it. That the means are not above it is what
counts.

--record writes what was found into `location` of the bundle's model.json.
"""

from __future__ import annotations

import argparse
import csv
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.mini.tables import rows
from cxrzero.evaluate.boxes.card import put_into
from cxrzero.evaluate.boxes.map_first import film_mapper
from cxrzero.evaluate.boxes.outputs import location_json
from cxrzero.evaluate.boxes.run import Localisation, evaluate_boxes
from cxrzero.evaluate.options import EvalOptions
from cxrzero.heatmap.methods import Method
from cxrzero.model.bundle import load_bundle
from cxrzero.report.location import verdict_of
from cxrzero.stats.intervals import Estimate
from recipes.mini_boxes import ORIGINAL
from recipes.mini_films import films, rows_of

METHODS: tuple[Method, ...] = ("patch", "occlusion")
DATASET = "NIH's boxes (BBox_List_2017) on films kept out of training"
COLUMNS = ("image", "finding", "x", "y", "width", "height", "patient")
HEADS = ("finding", "films", "boxes cover", "map hits", "best fixed point", "image centre", "mean box", "any one point",
         "map − fixed point", "mIoU", "mIoU, mean box", "location")  # fmt: skip
MEASURED = ("box_share", "hit_rate", "fixed_point_hit_rate", "centre_hit_rate", "mean_box_hit_rate")
THEN = ("gain", "miou", "mean_box_miou")


@dataclass(frozen=True)
class Run:
    """Attributes:
    seconds, busy: of the clock and of all processors, a film.
    """

    model: str
    found: Localisation
    seconds: float
    busy: float

    def log(self) -> dict[str, Any]:
        """What is kept; of places on this machine nothing."""
        kept = ("model", "method", "dataset", "unit", "labels", "mean", "counts")
        record = json.loads(location_json(self.found))
        seconds = {"seconds_per_film": round(self.seconds, 3), "processor_seconds_per_film": round(self.busy, 3)}
        return {"name": self.model, **seconds, **{key: record[key] for key in kept}, "dataset": DATASET}


def gather(data: Path, work: Path, most: int | None) -> int:
    """Links to the boxed films of part "boxed" in `work`/films, and their boxes in `work`/boxes.csv; how many films."""
    kept = {film.name: film for film in films(data) if film.part == "boxed"}
    boxes = [(kept.get(Path(row["image_index"]).stem), row) for row in rows_of(data / "nih_boxes.csv")]
    names = list(dict.fromkeys(film.name for film, _ in boxes if film is not None))[:most]
    for name in names:
        link = work / "films" / kept[name].path
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to((data / kept[name].path).absolute())
    with (work / "boxes.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for film, row in boxes:
            if film is not None and film.name in names:
                place = [row[key] for key in ("x", "y", "width", "height")]
                writer.writerow([film.path, row["finding"], *place, film.patient])
    return len(names)


def run(name: str, model: str, method: Method, work: Path, count: int) -> Run:
    """One model by one method, on what `gather` made."""
    boxes, size = work / "boxes.csv", (ORIGINAL, ORIGINAL)
    options = EvalOptions(str(work / "films"), boxes=boxes, box_size=size, unseen=True, model=(model,), method=method)
    started, busy = time.perf_counter(), time.process_time()
    found = evaluate_boxes(options, film_mapper(options))
    return Run(name, found, (time.perf_counter() - started) / count, (time.process_time() - busy) / count)


def table(each: Run) -> str:
    """Markdown."""
    lines: list[list[str]] = []
    for label in each.found.labels:
        before, after = ([told(getattr(label, key)) for key in keys] for keys in (MEASURED, THEN))
        best = f"{label.best_point_hit_rate:.2f}"
        lines.append([label.label, str(label.n_films), *before, best, *after, verdict_of(label)])
    if each.found.mean is not None:
        before, after = ([told(each.found.mean.values[key]) for key in keys] for keys in (MEASURED, THEN))
        lines.append([f"mean of {len(each.found.mean.labels)}", "", *before, "", *after, ""])
    title = (
        f"{each.model}, {each.found.gathered.method}: {each.seconds:.2f} s a film ({each.busy:.2f} s of all processors)"
    )
    return f"{title}\n\n{rows(HEADS, lines)}"


def told(each: Estimate) -> str:
    interval = "" if each.low != each.low else f" ({each.low:.2f} to {each.high:.2f})"
    return f"{each.value:.2f}{interval}".replace("-", "−")


def chance(runs: Sequence[Run]) -> str:
    """Random models together: what they hit, and what a point anywhere hits."""
    means = [each.found.mean.values for each in runs if each.found.mean is not None]
    hit, share = (sum(mean[key].value for mean in means) / len(means) for key in ("hit_rate", "box_share"))
    return f"{len(means)} random models hit {hit:.3f} on average; the boxes cover {share:.3f} of a film."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder that holds the sources")
    parser.add_argument("--model", default="cxrzero-mini", help="name or folder of a bundle")
    parser.add_argument("--films", type=int, metavar="N", help="take N films only, for a try")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--random", type=int, default=3, metavar="N", help="how many random models")
    parser.add_argument("--record", type=Path, metavar="BUNDLE", help="write the results into this bundle's model.json")
    parser.add_argument("--out", type=Path, help="the log, JSON")
    args = parser.parse_args()
    runs, blind = [], []
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        count = gather(args.data, work, args.films)
        for method in args.methods:
            runs.append(run(Path(args.model).name, args.model, method, work, count))
            print(table(runs[-1]), end="\n\n", flush=True)
        for seed in range(args.random):
            from benchmarks.end_to_end import make_model

            model = work / str(seed)
            model.mkdir()
            make_model(model, variants=(), seed=seed)
            name = f"random ViT-B/32, seed {seed}"
            blind.append(run(name, str(model / "bundle"), "patch", work, count))
            print(table(blind[-1]), end="\n\n", flush=True)
        if args.record is not None:
            results = [work / f"{each.found.gathered.method}.json" for each in runs]
            for each, result in zip(runs, results, strict=True):
                result.write_text(location_json(each.found), "utf-8")
            put_into(load_bundle(args.record), results, DATASET)
    if blind:
        print(chance(blind))
    if args.out is not None:
        log = {"films": count, "runs": [each.log() for each in (*runs, *blind)]}
        args.out.write_text(json.dumps(log, indent=1, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    main()
