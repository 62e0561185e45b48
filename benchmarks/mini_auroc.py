"""AUROC of a model on films on which it was not trained, beside the first bundled model and what needs no text.

    mkdir -p runs/first && git archive 6bcae9d models/cxrzero-mini | tar -x -C runs/first
    python benchmarks/mini_auroc.py --data ../shared/data --model runs/mini/model --first runs/first/models/cxrzero-mini
        [--part held] [--beside hand_made=runs/handmade] [--beside teacher=runs/mini/teacher-0/all]
        [--record models/cxrzero-mini] [--out benchmarks/results/mini_auroc.json]

Every film goes through `Screener`: decoding, preprocessing, prompts and both encoders are those of `cxrzero predict`,
"{}" against "no {}", and once more the built-in bank's sentences. Intervals: 95%, percentile bootstrap over patients
(adults) or films (where patients are unknown), 1,000 resamples; a resample without both classes is left out. The
difference to the first model is paired: the same films, the same resamples. Beside them are the mean brightness and the
sharpness (variance of the Laplacian) of the film squashed to 128 × 128, each taken in the direction that suits it best,
and what `--beside` names: scores.npz of benchmarks/mini_handmade.py, mini_probe.py and mini_teacher.py.

Part "val" (the default) is the validation splits; each such run is written down in benchmarks/results/mini_looks.jsonl.
To choose by, take `--part held`: train patients that were kept out of training.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.mini import groups, looks, results
from benchmarks.mini.results import FIRST, MACRO, Result
from benchmarks.mini.scores import Asked, Kept, Scorer, Seen
from benchmarks.mini.subsets import PARTS, in_two_sizes, subsets
from cxrzero import Screener
from cxrzero.prompts.measured import findings_at_chance


def measure(model: Scorer, beside: Mapping[str, Scorer], data: Path, part: str) -> dict[str, Any]:
    """Results of every subset; of the adults, within groups; for val, of films that there are in two sizes."""
    each = list(subsets(data, part))
    first = {"model": model} | ({FIRST.replace("_", " "): beside[FIRST]} if FIRST in beside else {})
    found = {
        "results": [result for subset in each for result in results.evaluate(model, beside, subset)],
        "groups": groups.within(first, each[0]),
        "sizes": [],
    }
    if part == "val":
        found["sizes"] = [result for subset in in_two_sizes(data) for result in results.evaluate(model, beside, subset)]
    return found


def macro_of(found: Sequence[Result]) -> float:
    """What counts: the mean over the adults' findings with enough positives."""
    return next(result.auroc[0] for result in found if result.label == MACRO)


def record(found: Sequence[Result], bundle: Path, command: str) -> None:
    """Put the results into the bundle's model.json, and which findings are at chance by them."""
    path = bundle / "model.json"
    card = json.loads(path.read_text("utf-8"))
    card["results"] = [result.entry(command) for result in found]
    card["at_chance"] = findings_at_chance(card["results"])
    path.write_text(json.dumps(card, indent=2, ensure_ascii=False) + "\n", "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder that holds the sources")
    parser.add_argument("--model", default="cxrzero-mini", help="name or folder of a bundle")
    parser.add_argument("--first", metavar="BUNDLE", help="folder of the model that differences are taken to")
    parser.add_argument("--part", choices=PARTS, default=PARTS[0])
    parser.add_argument("--beside", action="append", default=[], metavar="NAME=FOLDER", help="other scores to show")
    parser.add_argument("--record", type=Path, metavar="BUNDLE", help="write the results into this bundle's model.json")
    parser.add_argument("--out", type=Path, help="the log, JSON")
    args = parser.parse_args()
    screener = Screener(args.model, device="cpu")
    beside: dict[str, Scorer] = {FIRST: Asked(Screener(args.first, device="cpu"), args.data)} if args.first else {}
    beside |= {"mean_brightness": Seen(args.data, 0), "sharpness": Seen(args.data, 1)}
    beside["built_in_bank"] = Asked(screener, args.data, bank=True)
    beside |= {name: Kept(Path(folder)) for name, _, folder in (each.partition("=") for each in args.beside)}
    found = measure(Asked(screener, args.data), beside, args.data, args.part)
    print(results.table(found["results"]), groups.table(found["groups"]), sep="\n\n")
    if args.part == "val":
        print("", results.table(found["sizes"]), sep="\n")
        count = looks.write_down("mini_auroc", screener.member.fingerprint, macro_of(found["results"]))
        print("", looks.told(count), "", looks.table(), sep="\n")
    if args.record is not None:
        record(found["results"], args.record, f"python benchmarks/mini_auroc.py --data {args.data.as_posix()}")
    if args.out is not None:
        log = {name: [asdict(each) for each in entries] for name, entries in found.items()}
        args.out.write_text(json.dumps({"part": args.part} | log, indent=1, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    main()
