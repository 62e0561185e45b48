"""MedImageInsight by its authors' code with random weights: the file as they publish it, and what they make of films.

    python benchmarks/oracles/medimageinsight.py --code CHECKOUT --films FOLDER --out FOLDER [--tiny]

CHECKOUT is https://huggingface.co/lion-ai/MedImageInsights, or its mirror https://github.com/visual-layer/MedImageInsight
at e31cae3. It needs einops beside cxrzero's own extras. Its code is run as it is; libraries that inference does not use
(mpi4py, fvcore, mup …) are empty modules.

Writes into --out: medimageinsigt-v1.0.0.pt (safetensors, as published), and expected.npz: pixel_values (N, 3, H, W),
image_embeds (N, D), text_embeds (M, D), input_ids (M, L), scale, the prompts, and names and shapes of the tensors.
"""

from __future__ import annotations

import argparse
import base64
import importlib
import sys
import types
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from tests.support.checkpoints import random_state
from tests.support.vocabulary import PROMPTS

WEIGHTS = "medimageinsigt-v1.0.0.pt"  # spelled so
FOLDER = "2024.09.27"
UNUSED = ("mpi4py", "fvcore", "fvcore.nn", "tenacity", "mup", "mup.init", "yacs", "yacs.config")
TINY = {
    "IMAGE_ENCODER": {"DIM_EMBED": [32, 64, 64, 96], "NUM_HEADS": [1, 2, 2, 3], "NUM_GROUPS": [1, 2, 2, 3]},
    "LANG_ENCODER": {"WIDTH": 64, "HEADS": 1, "LAYERS": 2},
    "UNICL_MODEL": {"DIM_PROJECTION": 32},
}
BATCH = 4


class _Empty(types.ModuleType):
    """A library that is imported and not used by inference."""

    __path__: list[str] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {"__init__": lambda self, *_, **__: None, "__call__": lambda self, decorated: decorated})


def authors(code: Path, weights: Path, *, tiny: bool) -> Any:
    """Their classifier, loaded from `weights`, which is written first."""
    for name in UNUSED:
        sys.modules[name] = _Empty(name)
    sys.path.insert(0, str(code))
    warnings.simplefilter("ignore")
    module: Any = importlib.import_module("medimageinsightmodel")
    read = module.load_opt_from_config_files

    def config(paths: list[str]) -> Any:
        stated = read(paths)
        if tiny:
            stated["IMAGE_ENCODER"]["SPEC"] |= TINY["IMAGE_ENCODER"] | {"DEPTHS": [1, 1, 2, 1]}
            stated["LANG_ENCODER"] |= TINY["LANG_ENCODER"]
            stated["UNICL_MODEL"] |= TINY["UNICL_MODEL"]
        stated["VERBOSE"] = False
        return stated

    module.load_opt_from_config_files = config
    build = module.build_unicl_model

    def with_weights(stated: Any) -> Any:
        path = stated["UNICL_MODEL"]["PRETRAINED"]
        stated["UNICL_MODEL"]["PRETRAINED"] = ""  # a name of no file: random weights, of which the shapes count
        state = random_state(build(stated).state_dict())
        state["logit_scale"] = torch.tensor(4.0)
        save_file({name: value.contiguous() for name, value in state.items()}, weights)
        stated["UNICL_MODEL"]["PRETRAINED"] = path
        return build(stated).eval()

    module.build_unicl_model = with_weights
    classifier = module.MedImageInsight(str(code / FOLDER), str(weights.resolve()), "")
    classifier.load_model()
    return classifier


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--code", type=Path, required=True)
    parser.add_argument("--films", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tiny", action="store_true")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    classifier = authors(given.code, given.out / WEIGHTS, tiny=given.tiny)
    files = [base64.encodebytes(path.read_bytes()).decode() for path in sorted(given.films.iterdir())]
    pixels = torch.stack([classifier.preprocess(classifier.decode_base64_image(file)) for file in files])
    image = [classifier.encode(images=files[at : at + BATCH])["image_embeddings"] for at in range(0, len(files), BATCH)]
    text = classifier.encode(texts=list(PROMPTS))["text_embeddings"]
    ids = classifier.tokenize(
        list(PROMPTS), padding="max_length", max_length=classifier.max_length, truncation=True, return_tensors="np"
    )["input_ids"]
    state = classifier.model.state_dict()
    np.savez_compressed(
        given.out / "expected.npz",
        pixel_values=pixels.numpy(),
        image_embeds=np.concatenate(image),
        text_embeds=text,
        input_ids=ids,
        scale=float(classifier.model.logit_scale.exp()),
        prompts=PROMPTS,
        names=list(state),
        shapes=[",".join(map(str, value.shape)) for value in state.values()],
    )


if __name__ == "__main__":
    main()
