"""Kill -9 a prediction at random moments, run it again, and compare with an undisturbed run.

    python benchmarks/kill_resume.py --kills 200 --log kills.csv

Each kill starts from an empty cache, kills the command at a random moment (fixed seed) and runs it again. Checked: the
final table is byte-identical, and no image that a committed batch had finished is embedded again; so what a kill costs
is the batch that it hit. Exits 1 at the first difference. Without a folder, phantoms are drawn.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image

from cxrzero.cache.store import FILE_NAME, Store
from cxrzero.phantom import draw


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--images", type=int, default=500, help="phantoms to draw where no folder is given")
    parser.add_argument("--model", default="cxrzero-mini")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--log", type=Path, help="CSV with a line for each kill")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        if options.folder is None:
            options.folder = Path(work) / "films"
            draw_films(options.folder, options.images)
        trial(options, Path(work))


def draw_films(folder: Path, images: int) -> None:
    """Phantoms of 256 × 256 pixels, each different."""
    folder.mkdir()
    for seed in range(images):
        Image.fromarray(draw(seed, (256, 256)).to_uint8()).save(folder / f"{seed:04}.png")


def trial(options: argparse.Namespace, work: Path) -> None:
    cache, out = work / "cache", work / "table.csv"
    command = [sys.executable, "-m", "cxrzero", "predict", str(options.folder), "--model", options.model]
    command += ["--out", str(out), "--overwrite", "--quiet", "--device", "cpu", "--batch-size", "4"]
    environment = {**os.environ, "CXRZERO_CACHE_DIR": str(cache)}
    started = time.perf_counter()
    subprocess.run(command, env=environment, check=True)
    seconds = time.perf_counter() - started
    expected = out.read_bytes()
    images = embedded(out)
    rng = random.Random(options.seed)
    early = late = saved = 0
    log = ["kill,after_seconds,kept,embedded_by_rerun,table_was_complete,identical"]
    for number in range(options.kills):
        shutil.rmtree(cache)
        out.unlink()
        process = subprocess.Popen(command, env=environment)
        after = rng.uniform(0, seconds)
        time.sleep(after)
        process.kill()
        process.wait()
        complete = out.exists()
        late += complete
        kept = images_kept(cache)
        early += kept == 0
        saved += kept
        subprocess.run(command, env=environment, check=True)
        if out.read_bytes() != expected:
            sys.exit(f"kill {number}: the table differs")
        if embedded(out) != images - kept:
            sys.exit(f"kill {number}: {kept} of {images} were kept, and yet {embedded(out)} were embedded")
        log.append(f"{number},{after:.3f},{kept},{embedded(out)},{int(complete)},1")
        if options.log:
            options.log.write_text("\n".join(log) + "\n")
    print(
        f"{options.kills} kills over {images} images ({seconds:.2f} s undisturbed, batches of 4): every table "
        f"byte-identical, nothing kept was embedded again; {early} kills before the first batch, {late} after the "
        f"table was complete, {saved / options.kills:.1f} images kept on average"
    )


def embedded(out: Path) -> int:
    return int(json.loads(out.with_suffix(".run.json").read_text())["cache"]["embedded"])


def images_kept(cache: Path) -> int:
    if not (cache / FILE_NAME).exists():
        cache.mkdir(exist_ok=True)
        return 0
    store = Store(cache)
    kept = sum(usage.entries for usage in store.usage() if usage.kind == "image")
    store.close()
    return kept


if __name__ == "__main__":
    main()
