"""MedImageInsight by its authors' code with random weights: the file as they publish it, and what they make of films.

    python benchmarks/oracles/medimageinsight.py --code CHECKOUT --films FOLDER --out FOLDER [--tiny]

CHECKOUT is https://github.com/visual-layer/MedImageInsight at e31cae3, a mirror of
https://huggingface.co/lion-ai/MedImageInsights. It needs einops beside cxrzero's own extras. Its code is run as it is;
libraries that inference does not use (mpi4py, fvcore, mup …) are empty modules.

Writes into --out: medimageinsigt-v1.0.0.pt (safetensors, as published), and expected.npz, see
benchmarks/published_models.py.
"""

from __future__ import annotations

import argparse
import base64
import importlib
import sys
import types
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from tests.support.checkpoints import random_state
from tests.support.vocabulary import FINDINGS

WEIGHTS = "medimageinsigt-v1.0.0.pt"  # spelled so
FOLDER = "2024.09.27"
UNUSED = ("mpi4py", "fvcore", "fvcore.nn", "tenacity", "mup", "mup.init", "yacs", "yacs.config")
TINY = {
    "IMAGE_ENCODER": {"DIM_EMBED": [32, 64, 64, 96], "NUM_HEADS": [1, 2, 2, 3], "NUM_GROUPS": [1, 2, 2, 3]},
    "LANG_ENCODER": {"WIDTH": 64, "HEADS": 1, "LAYERS": 2},
    "UNICL_MODEL": {"DIM_PROJECTION": 32},
}
BATCH = 4
WITH_FAULTS = 8  # films that faults of the image tower are computed on: those that are not square, which a crop changes
TEXTS = ("x-ray chest anteroposterior {}", "x-ray chest anteroposterior no {}")
LABELS = FINDINGS[:10]
PROMPTS = tuple(text.format(label) for text in TEXTS for label in LABELS)


class _Empty(types.ModuleType):
    """A library that is imported and not used by inference."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__path__: list[str] = []

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


def pictures(classifier: Any, files: list[str]) -> torch.Tensor:
    return torch.stack([classifier.preprocess(classifier.decode_base64_image(file)) for file in files])


def images(classifier: Any, pixels: torch.Tensor) -> torch.Tensor:
    return torch.cat([classifier.model.encode_image(part) for part in pixels.split(BATCH)])


def tokens(classifier: Any, texts: Sequence[str]) -> Any:
    """As `encode` makes them."""
    length = classifier.max_length
    found = classifier.tokenize(
        list(texts), padding="max_length", max_length=length, truncation=True, return_tensors="pt"
    )
    return dict(found)


def probabilities(classifier: Any, files: list[str], embeds: torch.Tensor) -> np.ndarray[Any, Any]:
    """(N, L) of the positive text of a label beside its negative one, the pictures not encoded again for each label."""
    encode, classifier.model.encode_image = classifier.model.encode_image, lambda _: embeds
    films = [classifier.decode_base64_image(file) for file in files]
    columns = [classifier.run_inference_batch(films, [text.format(label) for text in TEXTS])[:, 0] for label in LABELS]
    classifier.model.encode_image = encode
    return torch.stack(columns, dim=1).numpy()


def faults(classifier: Any, files: list[str], pixels: torch.Tensor, texts: torch.Tensor, embeds: torch.Tensor) -> Any:
    """Name of a fault → cosines (N, M); rows of NaN are films that were not encoded with it."""
    sizes = [classifier.decode_base64_image(file).size for file in files]
    chosen = [place for place, size in enumerate(sizes) if size[0] != size[1]][:WITH_FAULTS]
    some, few = [files[place] for place in chosen], pixels[chosen]

    def scores(pictures: torch.Tensor) -> torch.Tensor:
        rows = torch.full((len(files), len(texts)), torch.nan)
        rows[chosen] = images(classifier, pictures) @ texts.T
        return rows

    model, right, stated = classifier.model, classifier.preprocess, classifier.opt
    found = {}
    classifier.preprocess = transforms(stated | {"TEST": {"CENTER_CROP": True}})
    found["crop"] = scores(pictures(classifier, some))
    classifier.preprocess = right
    found["scale"] = scores(few * 1.1)
    trunk = model.image_encoder
    pool, trunk.avgpool = trunk.avgpool, torch.nn.AdaptiveMaxPool1d(1)
    found["pooling"] = scores(few)
    norm, trunk.avgpool, trunk.norms = trunk.norms, pool, torch.nn.Identity()
    found["norm"] = scores(few)
    trunk.norms = norm
    given = tokens(classifier, PROMPTS)
    hidden = model.lang_encoder(**given)["last_hidden_state"][:, 1] @ model.lang_projection
    found["token"] = embeds @ (hidden / hidden.norm(dim=-1, keepdim=True)).T
    found["mask"] = embeds @ model.encode_text(given | {"attention_mask": torch.ones_like(given["input_ids"])}).T
    for block in model.lang_encoder.resblocks:  # the activation of the text tower, last: it stays wrong
        block.mlp.gelu = torch.nn.GELU()
    found["activation"] = embeds @ model.encode_text(given).T
    return {f"fault.{name}": wrong.numpy() for name, wrong in found.items()}


def transforms(stated: dict[str, Any]) -> Any:
    from MedImageInsight.ImageDataLoader import build_transforms

    return build_transforms(stated, False)


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
    pixels = pictures(classifier, files)
    embeds, texts = images(classifier, pixels), classifier.model.encode_text(tokens(classifier, PROMPTS))
    first = classifier.encode(images=files[:1], texts=list(PROMPTS))  # as one calls it
    assert np.allclose(first["image_embeddings"], embeds[:1], atol=1e-6)
    assert np.array_equal(first["text_embeddings"], texts.numpy())
    given_probabilities = probabilities(classifier, files, embeds)
    np.savez_compressed(
        given.out / "expected.npz",
        pixel_values=pixels.numpy(),
        image_embeds=embeds.numpy(),
        text_embeds=texts.numpy(),
        prompts=PROMPTS,
        labels=LABELS,
        probabilities=given_probabilities,
        **faults(classifier, files, pixels, texts, embeds),
    )


if __name__ == "__main__":
    main()
