"""Preprocessing of published lineages, as the steps of model.json."""

from __future__ import annotations

from typing import Any

Steps = list[dict[str, Any]]

# CheXzero, https://github.com/rajpurkarlab/CheXzero (zero_shot.py, train.py): mean and deviation of its training films.
CHEXZERO_SIDE, CHEXZERO_MEAN, CHEXZERO_STD = 320, 101.48761, 83.43944
# OpenAI's CLIP, https://github.com/openai/CLIP (clip.py).
OPENAI_MEAN = [0.48145466, 0.4578275, 0.40821073]
OPENAI_STD = [0.26862954, 0.26130258, 0.27577711]


def chexzero_steps(size: int) -> Steps:
    """Padded to a black square of 320 pixels, 0–255, then bicubic without antialias where the encoder is smaller."""
    steps: Steps = [
        {"step": "resize_longest", "size": CHEXZERO_SIDE, "interpolation": "lanczos"},
        {"step": "pad_to_square", "size": CHEXZERO_SIDE, "fill": 0},
        {"step": "rescale", "factor": 1.0},
        {"step": "normalize", "mean": [CHEXZERO_MEAN] * 3, "std": [CHEXZERO_STD] * 3},
    ]
    if size != CHEXZERO_SIDE:
        steps.append({"step": "resize_tensor", "size": size, "interpolation": "bicubic", "antialias": False})
    return steps


def clip_steps(size: int) -> Steps:
    """Shorter side to `size`, the middle cut out."""
    return [
        {"step": "resize_shortest", "size": size, "interpolation": "bicubic"},
        {"step": "center_crop", "height": size, "width": size},
        {"step": "rescale", "factor": 1 / 255},
        {"step": "normalize", "mean": OPENAI_MEAN, "std": OPENAI_STD},
    ]
