"""What a file of weights cannot tell: whose preprocessing, activation and scoring rule belong to it.

CheXzero's and OpenAI's files are the same in every key and shape; one wants pictures padded to 320 pixels on the scale
0–255, the other cropped pictures on the scale 0–1. So the lineage is stated by the user or by a released file name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from cxrzero.errors import AmbiguousModelError

Steps = list[dict[str, Any]]

# CheXzero, https://github.com/rajpurkarlab/CheXzero (zero_shot.py, train.py): mean and deviation of its training films.
CHEXZERO_SIDE, CHEXZERO_MEAN, CHEXZERO_STD = 320, 101.48761, 83.43944
# OpenAI's CLIP, https://github.com/openai/CLIP (clip.py).
OPENAI_MEAN = [0.48145466, 0.4578275, 0.40821073]
OPENAI_STD = [0.26862954, 0.26130258, 0.27577711]

# The ten checkpoints that CheXzero's authors released: best_{batch}_{lr}_original_{step}_{validation auc}.pt
CHEXZERO_FILES = frozenset(
    f"best_{name}.pt"
    for name in (
        "128_0.0002_original_15000_0.859",
        "128_0.0002_original_8000_0.857",
        "128_5e-05_original_22000_0.855",
        "64_0.0001_original_16000_0.861",
        "64_0.0001_original_17000_0.863",
        "64_0.0001_original_35000_0.864",
        "64_0.0002_original_23000_0.854",
        "64_5e-05_original_16000_0.858",
        "64_5e-05_original_18000_0.862",
        "64_5e-05_original_22000_0.864",
    )
)


@dataclass(frozen=True)
class Lineage:
    """A family of weights.

    Attributes:
        quick_gelu: the activation, x·σ(1.702x) or GELU; None: the architecture's name says it.
        steps: image size in pixels → preprocessing.
        scale: of the rule softmax_pair: "one", the paper's, or "logit_scale", the checkpoint's own.
        source: where these facts come from.
    """

    name: str
    quick_gelu: bool | None
    steps: Callable[[int], Steps]
    scale: Literal["one", "logit_scale"]
    source: str


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


LINEAGES = {
    "chexzero": Lineage("chexzero", True, chexzero_steps, "one", "https://github.com/rajpurkarlab/CheXzero"),
    "openai-clip": Lineage("openai-clip", True, clip_steps, "logit_scale", "https://github.com/openai/CLIP"),
    "open-clip": Lineage(
        "open-clip", None, clip_steps, "logit_scale", "https://github.com/mlfoundations/open_clip (transform.py)"
    ),
}


def choose_lineage(stated: str | None, file_name: str) -> tuple[Lineage, str]:
    """The lineage of a file and how it is known.

    Raises:
        AmbiguousModelError: nobody says it, or `stated` is unknown; names the choices.
    """
    if stated is not None:
        if stated not in LINEAGES:
            raise AmbiguousModelError(f"--as {stated!r} is unknown; choose one of {', '.join(LINEAGES)}")
        return LINEAGES[stated], f"--as {stated}"
    if file_name in CHEXZERO_FILES:
        return LINEAGES["chexzero"], "the name of one of CheXzero's ten released files"
    raise AmbiguousModelError(
        f"{file_name}: the weights do not tell whose preprocessing and scoring rule belong to them; say it with "
        "--as chexzero (padded to 320 pixels, QuickGELU, scale 1), --as openai-clip (cropped, QuickGELU) or "
        "--as open-clip with --arch (cropped, the architecture's activation)"
    )
