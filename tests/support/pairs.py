"""Small pairs and models for the tests of training."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

# open_clip's own kind of model, small enough for a test: LayerNorm only, CLIP's vocabulary, causal text tower.
TINY_CLIP = {
    "architecture": "tiny CLIP",
    "embed_dim": 16,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "head_width": 32, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
}


def tiny_clip(folder: Path) -> str:
    """An architecture file of TINY_CLIP."""
    path = folder / "tiny-clip.json"
    path.write_text(json.dumps(TINY_CLIP), "utf-8")
    return str(path)


def draw(folder: Path, count: int = 16, held_out: int = 0) -> Path:
    """`count` films with a bright spot each and its place as text; the last `held_out` are for validation."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = ["image,text,split"]
    for number in range(count):
        pixels = np.random.default_rng(number).integers(0, 90, (40, 32), np.uint8)
        y, x = number % 4 * 10, number // 4 % 4 * 8
        pixels[y : y + 10, x : x + 8] = 255
        Image.fromarray(pixels).save(folder / f"{number:02}.png")
        rows.append(f"{number:02}.png,spot {y} {x} of film {number},{'val' if number >= count - held_out else 'train'}")
    (folder / "pairs.csv").write_text("\n".join(rows) + "\n", "utf-8")
    return folder / "pairs.csv"
