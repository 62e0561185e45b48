"""The evaluation that docs/eval.md shows: the bundled model on the validation films of three open subsets.

    python benchmarks/mini_eval.py --data ../shared/data --out benchmarks/results/mini_eval.json
    python benchmarks/mini_eval.py --table benchmarks/results/mini_eval.json

The first runs `cxrzero predict` and `cxrzero eval` as a user would and keeps numbers alone; the second prints the table
of docs/eval.md from them. The films are not part of this repository.
"""

from __future__ import annotations

import argparse
import csv
import json
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# Subset → what `eval` needs to know of its labels.
SUBSETS: dict[str, tuple[str, ...]] = {
    "nih": (),
    "kermany": ("--list-column", "finding", "--map", "pneumonia=bacterial pneumonia|viral pneumonia"),
}
THRESHOLDS_FROM = "nih128"
ENOUGH = 10  # positives from which a finding is in the table


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of the subsets")
    parser.add_argument("--out", type=Path, help="the log, JSON")
    parser.add_argument("--table", type=Path, metavar="LOG", help="print the table of a log instead")
    options = parser.parse_args(arguments)
    if options.table:
        print(table(json.loads(options.table.read_text(encoding="utf-8"))))
        return
    log = measure(options.data)
    options.out.write_text(json.dumps(log, indent=1) + "\n", encoding="utf-8")


def measure(data: Path) -> dict[str, Any]:
    """Predict and evaluate; the log."""
    commands: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)

        def run(*words: str) -> None:
            subprocess.run([sys.executable, "-m", "cxrzero", *words], check=True, cwd=work)
            commands.append(shlex.join(["cxrzero", *words]).replace(str(data.resolve()), "DATA"))

        for subset in (*SUBSETS, THRESHOLDS_FROM):
            rows = list(csv.DictReader((data / subset / f"{subset}.csv").open(encoding="utf-8")))
            films = [str((data / subset / row["image"]).resolve()) for row in rows if row["split"] == "val"]
            (work / f"{subset}.txt").write_text("\n".join(films) + "\n", encoding="utf-8")
            run("predict", f"@{subset}.txt", "--out", f"{subset}.csv")
        evaluations = {}
        for subset, rules in SUBSETS.items():
            run("eval", f"{subset}.csv", _labels(data, subset), *rules, "--out", subset)
            evaluations[subset] = _numbers(work / subset)
        validation = (f"{THRESHOLDS_FROM}.csv", _labels(data, THRESHOLDS_FROM))
        run("eval", "nih.csv", _labels(data, "nih"), "--validation", *validation, "--out", "thresholds")
        points = _points(work / "thresholds")
    return {"commands": commands, "evaluations": evaluations, "thresholds_from_nih128": points}


def table(log: dict[str, Any]) -> str:
    """The table of docs/eval.md: findings with enough positives, and the mean over them."""
    lines = ["| Films | Finding | Positive / negative | AUROC | Average precision |", "|---|---|---|---|---|"]
    for subset, found in log["evaluations"].items():
        shown = [each for each in found["labels"] if each["positives"] >= ENOUGH]
        for each in shown:
            counts = f"{each['positives']} / {each['negatives']}"
            numbers = f"{_interval(each['auroc'])} | {_interval(each['average_precision'])}"
            lines.append(f"| {subset} | {each['label']} | {counts} | {numbers} |")
        if len(shown) > 1:
            mean = found["mean"]
            numbers = f"{_interval(mean['auroc'])} | {_interval(mean['average_precision'])}"
            lines.append(f"| {subset} | mean of these | | {numbers} |")
    return "\n".join(lines)


def _labels(data: Path, subset: str) -> str:
    return str((data / subset / f"{subset}.csv").resolve())


def _numbers(folder: Path) -> dict[str, Any]:
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    labels = [
        {
            "label": each["label"],
            "positives": each["n_positive"],
            "negatives": each["n_negative"],
            **_ranks(each["ranks"]),
        }
        for each in metrics["labels"]
    ]
    units = {"unit": metrics["unit"], "units": metrics["n_units"]}
    return {"films": metrics["n_rows"], **units, "labels": labels, "mean": _ranks(metrics["macro"])}


def _points(folder: Path) -> dict[str, Any]:
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    called = {label: point["tp"] + point["fp"] for label, point in metrics["operating_points"].items()}
    return {
        "shared_units": metrics["shared_with_validation"],
        "mean_mcc": _rounded(metrics["macro_operating_point"]["mcc"]),
        "films_called": called,
        "mcc": {label: _rounded(point["mcc"]) for label, point in metrics["operating_points"].items()},
    }


def _ranks(metrics: dict[str, Any]) -> dict[str, Any]:
    return {name: _rounded(metrics[name]) for name in ("auroc", "average_precision")}


def _rounded(estimate: dict[str, Any]) -> list[float | None]:
    return [None if estimate[key] is None else round(estimate[key], 6) for key in ("value", "low", "high")]


def _interval(numbers: Sequence[float]) -> str:
    value, low, high = numbers
    return f"{value:.3f} ({low:.3f} to {high:.3f})"


if __name__ == "__main__":
    main()
