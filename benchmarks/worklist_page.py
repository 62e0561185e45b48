"""How fast a worklist opens and scrolls in Chromium, and what a table of millions costs.

    python benchmarks/worklist_page.py [--films 10000] [--rows 2000000] [--labels 14] [--out FILE]

Draws small films, predicts them with the bundled model, makes the worklist and opens it from its file. Says the page's
size, the time from opening to the first row with its picture, and the longest pause between two frames while the list
is scrolled to its end. Then it writes a table of so many rows and takes its 200 highest in a process of its own, of
which it says the time and the memory.
"""

from __future__ import annotations

import argparse
import csv
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cxrzero.predict.options import PredictOptions
from cxrzero.predict.plan import prepare
from cxrzero.predict.run import run
from cxrzero.prediction import FIXED_COLUMNS
from cxrzero.worklist.options import WorklistOptions
from cxrzero.worklist.run import make_worklist
from tests.support.browser import opened

NAMES = ("Atelectasis", "Cardiomegaly", "Effusion", "Infiltration", "Mass", "Nodule", "Pneumonia", "Pneumothorax",
         "Consolidation", "Edema", "Emphysema", "Fibrosis", "Pleural_Thickening", "Hernia")  # fmt: skip

# Scrolls half a window a frame, so that every frame has new rows; `rows` are those that are in the document at the end.
SCROLL = """async () => {
  const box = document.getElementById("rows"), pauses = [];
  let last = performance.now(), frames = 0;
  const started = last;
  const step = box.clientHeight / 2;
  await new Promise((done) => {
    const next = (now) => {
      pauses.push(now - last); last = now; frames += 1;
      if (box.scrollTop + box.clientHeight >= box.scrollHeight - 1) return done();
      box.scrollTop += step;
      requestAnimationFrame(next);
    };
    requestAnimationFrame(next);
  });
  const seconds = (performance.now() - started) / 1000;
  pauses.sort((a, b) => b - a);
  return { seconds, frames, longest_ms: pauses[0], second_longest_ms: pauses[1],
           median_ms: pauses[Math.floor(pauses.length / 2)], rows: document.querySelectorAll(".row").length };
}"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--films", type=int, default=10_000)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--labels", type=int, default=14)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--top-of", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.top_of:
        print(json.dumps(top_of(arguments.top_of)))
        return
    found: dict[str, Any] = {"films": arguments.films, "labels": arguments.labels}
    with tempfile.TemporaryDirectory() as folder:
        found |= page(Path(folder), arguments.films, NAMES[: arguments.labels])
        found |= table(Path(folder), arguments.rows, NAMES[: arguments.labels])
    text = json.dumps(found, indent=2)
    print(text)
    if arguments.out:
        arguments.out.write_text(text + "\n", encoding="utf-8")


def page(folder: Path, films: int, labels: tuple[str, ...]) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    (folder / "films").mkdir()
    ramp = np.linspace(0, 160, 256, dtype=np.float32)
    for number in range(films):
        picture = ramp[:, None] * rng.random() + ramp[None, :] * rng.random()
        picture[number % 200 : number % 200 + 30, 100:140] += 80
        Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8)).save(
            folder / "films" / f"{number:05d}.png", compress_level=1
        )
    out = folder / "predictions.csv"
    run(prepare(PredictOptions((str(folder / "films"),), labels=labels, out=str(out), device="cpu", cache=False)))
    started = time.perf_counter()
    made = make_worklist(
        WorklistOptions(out, label=labels[0], top=films, out=folder / "worklist", overlays=0, device="cpu")
    )
    seconds = time.perf_counter() - started
    files = [path.stat().st_size for path in (folder / "worklist" / "films").iterdir()]
    with opened(made.page) as seen:
        opening = []
        for _ in range(5):
            began = time.perf_counter()
            seen.page.goto(made.page.resolve().as_uri(), wait_until="commit")
            seen.page.wait_for_function(
                "document.querySelector('.row img')?.naturalWidth && document.getElementById('film').naturalWidth"
            )
            opening.append(time.perf_counter() - began)
        scrolled = seen.page.evaluate(SCROLL)
        seen.check()
    return {
        "faults": len(made.faults),
        "make_seconds": round(seconds, 1),
        "page_megabytes": round(made.page.stat().st_size / 1e6, 2),
        "pictures_megabytes": round(sum(files) / 1e6, 1),
        "first_row_seconds": [round(each, 3) for each in opening],
        "scroll": {name: round(value, 3) for name, value in scrolled.items()},
    }


def table(folder: Path, rows: int, labels: tuple[str, ...]) -> dict[str, Any]:
    path, rng = folder / "millions.csv", np.random.default_rng(0)
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow([*FIXED_COLUMNS, *labels])
        for first in range(0, rows, 10_000):
            numbers = rng.random((min(10_000, rows - first), len(labels)), np.float32).round(7)
            for at, scores in enumerate(numbers.tolist(), first):
                uids = [f"2.25.{at // 2}", f"2.25.{at}1", f"2.25.{at}2"]
                writer.writerow(
                    [f"archive/{at // 1000:05d}/{at}.dcm", 1, "DX", "PA", "MONOCHROME2", *uids, "ok", "", "", *scores]
                )
    done = subprocess.run([sys.executable, __file__, "--top-of", str(path)], capture_output=True, text=True, check=True)
    return {"rows": rows, "table_megabytes": round(path.stat().st_size / 1e6), **json.loads(done.stdout)}


def top_of(path: Path) -> dict[str, Any]:
    """By one label and by the highest of all: seconds, and the most memory that the process had."""
    found: dict[str, Any] = {}
    for name, label in (("label", NAMES[0]), ("max", None)):
        started = time.perf_counter()
        make_worklist(WorklistOptions(path, label=label, top=200, out=path.with_name(f"top-{name}"), device="cpu"))
        found[f"top_by_{name}_seconds"] = round(time.perf_counter() - started, 1)
        found[f"top_by_{name}_megabytes"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    return found


if __name__ == "__main__":
    main()
