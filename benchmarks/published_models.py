"""A published model by its authors' code and by cxrzero: the same random weights, films and prompts through both.

    python benchmarks/published_models.py NAME --code CHECKOUT --films FOLDER [--libs FOLDER] [--threads 2]
        [--speed 100] [--out benchmarks/results/published/NAME.json]
    python benchmarks/published_models.py NAME --code CHECKOUT --tiny
    python benchmarks/published_models.py NAME --bundle FOLDER --speed 100 [--out …]

CHECKOUT is the authors' public repository; benchmarks/oracles/NAME.py says at which commit, and what it needs beside
cxrzero's extras, which --libs is put in front of everything for. The oracle runs in a process of its own: it builds the
authors' network with random weights, saves it as they publish it, and computes with their code what they would give.
The weights are then imported as a user would, and the bundle's graphs answer the same films and prompts.

Compared are the pixel values, the embeddings (least cosine) and the scores of every prompt (largest difference, over
their standard deviation over the films). Then the same with six planted faults, each of which has to be noticed.
--tiny writes tests/convert/published/NAME.npz, the same for a model of a few layers on drawn films. --bundle adds the
speed of a bundle, kept by --keep in an earlier run, to the log of that run.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from cxrzero import Screener
from cxrzero.convert import import_model
from cxrzero.files import software
from cxrzero.model.bundle import load_bundle
from cxrzero.phantom import draw
from tests.support import published

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "published"
# What an oracle writes beside the weights.
BESIDE = ("expected.npz", "vocab.txt", "tokenizer.json")
LABELS = ("pneumonia", "edema", "pneumothorax", "cardiomegaly", "pleural effusion")
AGAIN = ("atelectasis", "fracture", "emphysema", "hernia", "nodule")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="of the model's card")
    parser.add_argument("--code", type=Path, help="checkout of the authors' repository")
    parser.add_argument("--bundle", type=Path, help="measure the speed of this bundle, and nothing else")
    parser.add_argument("--films", type=Path, help="folder of PNG and JPEG films; drawn ones if left out")
    parser.add_argument("--libs", type=Path, help="folder of packages that the authors' code needs")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--speed", type=int, default=0, help="measure images per second on so many drawn films")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--keep", type=Path, help="work in this folder and leave it there")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    work = options.keep or Path(tempfile.mkdtemp(prefix="published-"))
    work.mkdir(parents=True, exist_ok=True)
    out = options.out or RESULTS / f"{options.name}.json"
    try:
        log = json.loads(out.read_text("utf-8")) if options.bundle else compare(options, work)
        if options.speed:
            log |= speed(options.bundle or work / "bundle", work / "many", options.speed)
    finally:
        if options.keep is None:
            shutil.rmtree(work)
    text = json.dumps(log, indent=2) + "\n"
    print(text, end="")
    if not options.tiny:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text, "utf-8")
    if not log["agrees"] or not all(fault["noticed"] for fault in log["faults"].values()):
        sys.exit(1)


def compare(options: argparse.Namespace, work: Path) -> dict[str, Any]:
    """Run the oracle, import what it saved, and lay its answers beside the bundle's."""
    films = options.films
    if films is None or options.tiny:
        films = published.draw_films(work / "films")
    began = time.perf_counter()
    expected = ask_authors(options, films, work / "authors")
    authors_seconds = time.perf_counter() - began
    faults = {name.removeprefix("fault."): expected.pop(name) for name in list(expected) if name.startswith("fault.")}
    source = weights_in(work / "authors")
    if options.tiny:
        made_by = f"python benchmarks/published_models.py {options.name} --code CHECKOUT --tiny, of {checkout(options)}"
        planted = {f"fault.{name}": array for name, array in faults.items()}
        path = published.pack(options.name, source, expected | planted, made_by)
        print(f"{path.relative_to(ROOT)}: {path.stat().st_size:,} bytes")
    began = time.perf_counter()
    report = import_model(source, work / "bundle", card=options.name)
    import_seconds = time.perf_counter() - began
    ours = published.answers(work / "bundle", films, [str(prompt) for prompt in expected["prompts"]])
    found = published.deviations(ours, expected)
    if "labels" in expected:
        theirs = expected["probabilities"]
        given = published.predicted(work / "bundle", films, [str(label) for label in expected["labels"]])
        found["probabilities"] = float(np.abs(given - theirs).max())
    planted = {name: published.deviations(ours, expected, array)["scores_over_sd"] for name, array in faults.items()}
    return {
        "model": options.name,
        "authors": checkout(options),
        "films": len(ours["scores"]),
        "prompts": len(expected["prompts"]),
        "recognised": list(report.lines),
        "deviations": found,
        "limits": {"cosine": published.MIN_COSINE, "scores_over_sd": published.MAX_SCORES},
        "agrees": published.agrees(found),
        "least_sd_of_scores": float(published.scores_of(expected).std(axis=0).min()),
        "faults": {
            name: {"scores_over_sd": far, "noticed": far > published.MAX_SCORES} for name, far in planted.items()
        },
        "authors_seconds": round(authors_seconds, 1),
        "import_seconds": round(import_seconds, 1),
        "bundle_mb": round(sum(path.stat().st_size for path in (work / "bundle").iterdir()) / 1e6, 1),
        "heatmap": heatmap_of(work / "bundle"),
        "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6),
        "threads": options.threads,
        "versions": software(("torch", "timm", "transformers", "onnxruntime")),
    }


def oracle(options: argparse.Namespace) -> Path:
    return ROOT / "benchmarks" / "oracles" / f"{options.name.replace('-', '_')}.py"


def checkout(options: argparse.Namespace) -> str:
    """Whose code it is, at which commit, as the oracle states it."""
    stated = re.search(r"CHECKOUT\s+is\s+(\S+)\s+at\s+([0-9a-f]{7,})", oracle(options).read_text("utf-8"))
    assert stated, "an oracle says: CHECKOUT is URL at COMMIT"
    return f"{stated[1]} at {stated[2]}"


def ask_authors(options: argparse.Namespace, films: Path, out: Path) -> dict[str, Any]:
    """The oracle's arrays; what it prints goes to standard error."""
    script = oracle(options)
    command = [sys.executable, str(script), "--code", str(options.code), "--films", str(films), "--out", str(out)]
    paths = [str(options.libs.resolve())] if options.libs else []
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*paths, str(ROOT)]), "HF_HUB_OFFLINE": "1"}
    environment["OMP_NUM_THREADS"] = str(options.threads)
    subprocess.run([*command, *["--tiny"] * options.tiny], check=True, env=environment, stdout=sys.stderr)
    with np.load(out / "expected.npz") as file:
        return dict(file)


def weights_in(folder: Path) -> Path:
    """What is imported: the folder `weights`, or the one file that is neither vocabulary nor answer."""
    if (folder / "weights").is_dir():
        return folder / "weights"
    (file,) = [path for path in folder.iterdir() if path.name not in BESIDE]
    return file


def heatmap_of(bundle: Path) -> str:
    stated = json.loads((bundle / "model.json").read_text("utf-8"))
    if stated.get("attention"):
        return "attention of the scorer"
    return "patches" if stated.get("patch_embeds") else "occlusion"


def speed(bundle: Path, films: Path, count: int) -> dict[str, Any]:
    """Images per second of a first question, and seconds of a second one, which opens no film.

    Each opens the model, which is part of its time. Before the second, every film is overwritten: one that is opened
    would fail. What is kept of a film is kept also where it is large, as `--cache-large` does.
    """
    draw_many(films, count)
    os.environ["CXRZERO_CACHE_DIR"] = str(films.parent / "cache")
    seconds = []
    for labels in (LABELS, AGAIN):
        began = time.perf_counter()
        with Screener(load_bundle(bundle).path, device="cpu", cache_large=True) as screener:
            rows = screener.predict(films, list(labels))
        seconds.append(time.perf_counter() - began)
        assert len(rows) == count
        assert all(row.status == "ok" for row in rows)
        for film in films.iterdir():
            overwrite(film)
    return {
        "speed_films": count,
        "images_per_second": round(count / seconds[0], 2),
        "second_question_seconds": round(seconds[1], 2),
        "cores": len(os.sched_getaffinity(0)),
    }


def draw_many(films: Path, count: int) -> None:
    films.mkdir()
    for seed in range(count):
        Image.fromarray(draw(seed, (512, 512)).to_uint8()).save(films / f"{seed:04}.png")


def overwrite(film: Path) -> None:
    """Put zeros into the file, which keeps its size and time: the cache knows it still."""
    status = film.stat()
    with film.open("r+b") as file:
        file.write(bytes(status.st_size))
    os.utime(film, ns=(status.st_atime_ns, status.st_mtime_ns))


if __name__ == "__main__":
    main()
