"""A model whose towers are both above 2 GiB: what its import, its check and its first films cost in memory and time.

    python benchmarks/large_towers.py [--films 8] [--backends onnxruntime openvino] [--out LOG.json]

The model is synthetic: the image tower of open_clip's ViT-H-14 (632 million numbers, 2.5 GB) and the text tower of its
ViT-bigG-14 (694 million, 2.8 GB), with random weights in float32, in safetensors shards as such models are published.
`models import`, `models verify` and `predict` run as a user runs them, each in a process of its own. The last row is
two processes of `predict` at once.

Of memory, the peak is taken over samples of /proc. `private` is what the system cannot take back. `mapped` are pages of
files, the weights above all: they are shared between processes, and the system takes them back where it needs room.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from open_clip.model import CustomTextCLIP
from PIL import Image
from safetensors.torch import save_file

from cxrzero.files import software
from cxrzero.phantom import draw

EMBED_DIM = 1280
VISION = {"image_size": 224, "layers": 32, "width": 1280, "head_width": 80, "patch_size": 14}
TEXT = {"context_length": 77, "vocab_size": 49408, "width": 1280, "heads": 20, "layers": 32}
SHARD = 2 * 10**9  # bytes
SAMPLE = 0.25  # seconds
SIDE = 1024  # pixels of a film
VERSIONS = ("torch", "open_clip_torch", "onnx", "onnxruntime-gpu", "onnxruntime", "openvino")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--films", type=int, default=8)
    parser.add_argument("--backends", nargs="+", default=["onnxruntime", "openvino"])
    parser.add_argument("--layers", type=int, help="of both towers, to try this out with less")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        log = measure(Path(work), options.films, options.backends, options.layers)
    print(json.dumps(log, indent=2))
    if options.out:
        options.out.write_text(json.dumps(log, indent=2) + "\n", "utf-8")


def measure(work: Path, films: int, backends: Sequence[str], layers: int | None) -> dict[str, Any]:
    source, bundle, folder = work / "source", work / "bundle", work / "films"
    shapes = write_source(source, layers)
    folder.mkdir()
    for seed in range(films):
        Image.fromarray(draw(seed, SIDE).to_uint8()).save(folder / f"{seed}.png")
    log: dict[str, Any] = {
        "films": films,
        "numbers": {"image": count(shapes, "visual."), "text": count(shapes, "text.")},
        "weights_gb": round(sum(file.stat().st_size for file in source.glob("*.safetensors")) / 1e9, 2),
        "shards": len(list(source.glob("*.safetensors"))),
        "versions": software(VERSIONS),
    }
    log["import"] = run(["models", "import", str(source), "--out", str(bundle), "--name", "large"])
    log["bundle_gb"] = {file.name: round(file.stat().st_size / 1e9, 3) for file in sorted(bundle.iterdir())}
    log["verify"] = run(["models", "verify", str(bundle)])
    ask = ["predict", str(folder), "--model", str(bundle), "--device", "cpu", "--no-cache", "--labels", "edema"]
    for backend in backends:
        out = work / f"{backend}.csv"
        log[f"predict, {backend}"] = run([*ask, "--backend", backend, "--out", str(out)])
    two = [[*ask, "--backend", backends[0], "--out", str(work / f"two{number}.csv")] for number in range(2)]
    log[f"predict twice at once, {backends[0]}"] = run(*two)
    tables = [(work / f"{name}.csv").read_text("utf-8") for name in (backends[0], "two0", "two1")]
    log["tables_are_equal"] = len(set(tables)) == 1
    return log


def write_source(folder: Path, layers: int | None) -> dict[str, tuple[int, ...]]:
    """An open_clip folder with shards and their index; name → shape of its tensors."""
    folder.mkdir()
    fewer = {} if layers is None else {"layers": layers}
    config = {"embed_dim": EMBED_DIM, "vision_cfg": VISION | fewer, "text_cfg": TEXT | fewer}
    with torch.device("meta"):
        model = CustomTextCLIP(EMBED_DIM, VISION | fewer, TEXT | fewer)
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    shards: list[list[str]] = [[]]
    for name in shapes:
        if sum(4 * math.prod(shapes[each]) for each in (*shards[-1], name)) > SHARD and shards[-1]:
            shards.append([])
        shards[-1].append(name)
    places, generator = {}, torch.Generator().manual_seed(0)
    for number, names in enumerate(shards, 1):
        file = f"open_clip_model-{number:05}-of-{len(shards):05}.safetensors"
        save_file({name: values(name, shapes[name], generator) for name in names}, folder / file)
        places |= dict.fromkeys(names, file)
    index = {"metadata": {}, "weight_map": places}
    (folder / "open_clip_model.safetensors.index.json").write_text(json.dumps(index), "utf-8")
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": {}}), "utf-8")
    return shapes


def values(name: str, shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    """Numbers behind which two films still differ: matrices keep the size of what passes, norms change nothing."""
    if len(shape) < 2:
        is_norm = "ln_" in name and name.endswith("weight")
        return torch.full(shape, 4.6 if name == "logit_scale" else 1.0 if is_norm else 0.0)
    spread = 0.02 if "embedding" in name else shape[-1] ** -0.5
    return torch.randn(shape, generator=generator) * spread


def count(shapes: dict[str, tuple[int, ...]], prefix: str) -> int:
    return sum(math.prod(shape) for name, shape in shapes.items() if name.startswith(prefix))


def run(*commands: Sequence[str]) -> dict[str, Any]:
    """Run commands of cxrzero at once, and watch their memory together."""
    started = time.monotonic()
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "cxrzero", *command], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        for command in commands
    ]
    private = mapped = 0
    while any(process.poll() is None for process in processes):
        found = [memory(pid) for process in processes for pid in family(process.pid)]
        private = max(private, sum(each[0] for each in found))
        mapped = max(mapped, sum(each[1] for each in found))
        time.sleep(SAMPLE)
    for process in processes:
        _, said = process.communicate()
        if process.returncode:
            raise SystemExit(f"{' '.join(map(str, process.args))} ended with {process.returncode}: {said}")
    seconds = round(time.monotonic() - started, 1)
    return {"seconds": seconds, "private_gb": round(private / 1e6, 2), "mapped_gb": round(mapped / 1e6, 2)}


def family(pid: int) -> list[int]:
    """A process and all below it."""
    pids = [pid]
    for each in pids:
        with suppress(OSError):
            pids += map(int, Path(f"/proc/{each}/task/{each}/children").read_text("ascii").split())
    return pids


def memory(pid: int) -> tuple[int, int]:
    """Kilobytes of one process, private and mapped, a page that several have in equal parts."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text("ascii").splitlines()
    except OSError:  # it has ended
        return 0, 0
    sizes = {key: int(rest.split()[0]) for key, _, rest in (line.partition(":") for line in lines[1:])}
    return sizes["Pss_Anon"], sizes["Pss_File"] + sizes["Pss_Shmem"]


if __name__ == "__main__":
    main()
