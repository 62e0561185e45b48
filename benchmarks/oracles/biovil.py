"""BioViL and BioViL-T by their authors' code with random weights: the files as published, and what becomes of films.

    python benchmarks/oracles/biovil.py --code CHECKOUT --films FOLDER --out FOLDER [--tiny]

CHECKOUT is https://github.com/microsoft/hi-ml at b67c1d2. It needs scikit-image, SimpleITK and a transformers of its
time (4.24.0, with tokenizers 0.13.3 and huggingface_hub 0.16.4). Its code is run as it is, from the film's file to its
embedding, but for what would be fetched: the networks have random weights. biovil_t.py is the same for BioViL-T.

Writes OUT/weights, the folder to import, and OUT/expected.npz: pixel_values (N, 3, H, W), image_embeds (N, D),
text_embeds (P, D), the prompts, probabilities (N, L) and their labels, patch_scores (h · w,) of the first film and
prompt before they are smoothed, and cosines (N, P) with faults planted, rows of NaN for most films.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torchvision.transforms import CenterCrop

from tests.support.checkpoints import random_state
from tests.support.vocabulary import PROMPTS, wordpieces

# The kind of network, the file of its weights, and how get_image_inference crops.
KINDS = {
    "biovil": ("resnet50", "biovil_image_resnet50_proj_size_128.pt", 480),
    "biovil-t": ("resnet50_multi_image", "biovil_t_image_model_proj_size_128.pt", 448),
}
FULL_WORDS, TINY_WORDS = 30522, 200
TINY_BERT = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 1, "intermediate_size": 128}
TINY_PLACES = 40
BRANCH = 0.1  # of a residual branch's random weight, at full size
FAULTY = 8  # films at most that go through code with a fault
LABELS, SIDES = ("pneumonia", "edema", "pleural effusion"), ("Findings suggesting {}", "No evidence of {}")


def image_model(kind: str, tiny: bool) -> Any:
    from health_multimodal.image.model import encoder, resnet
    from health_multimodal.image.model.model import ImageModel

    if tiny:  # their network with one narrow block a stage
        sizes = {"block": resnet.Bottleneck, "layers": [1, 1, 1, 1], "width_per_group": 4, "num_classes": 2}
        encoder.resnet50 = lambda pretrained=False, **more: resnet.ResNetHIML(**sizes, **more)
    model = ImageModel(kind, joint_feature_size=128)
    model.load_state_dict(random_state(model.state_dict()))
    return model


def text_engine(folder: Path, tiny: bool) -> Any:
    from health_multimodal.text import CXRBertConfig, CXRBertModel, CXRBertTokenizer, TextInferenceEngine

    words = wordpieces(TINY_WORDS if tiny else FULL_WORDS)
    (folder / "vocab.txt").write_text("".join(f"{word}\n" for word in words), "utf-8")
    sizes = TINY_BERT | {"max_position_embeddings": TINY_PLACES} if tiny else {}
    model = CXRBertModel(CXRBertConfig(vocab_size=len(words), **sizes))
    model.load_state_dict(random_state(model.state_dict()))
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    return TextInferenceEngine(CXRBertTokenizer(vocab_file=str(folder / "vocab.txt")), model.eval())


def main(name: str) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--code", type=Path, required=True)
    parser.add_argument("--films", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tiny", action="store_true")
    given = parser.parse_args()
    sys.path.insert(0, str(given.code / "hi-ml-multimodal/src"))
    from health_multimodal.image import ImageInferenceEngine
    from health_multimodal.image.data.transforms import create_chest_xray_transform_for_inference

    kind, file, crop = KINDS[name]
    weights = given.out / "weights"
    weights.mkdir(parents=True, exist_ok=True)
    model, films = image_model(kind, given.tiny), sorted(given.films.iterdir())
    images = ImageInferenceEngine(model, create_chest_xray_transform_for_inference(resize=512, center_crop_size=crop))
    if not given.tiny:
        settle(images, films[::4])
    torch.save(model.state_dict(), weights / file)
    texts = text_engine(weights, given.tiny)
    embeds = image_embeds(images, films)
    np.savez_compressed(
        given.out / "expected.npz",
        pixel_values=np.stack([images.load_and_transform_input_image(film, images.transform)[0][0] for film in films]),
        image_embeds=embeds,
        patch_scores=patch_embeds(images, films[:1])[0].flatten(0, 1) @ text_embeds(texts)[0],
        text_embeds=text_embeds(texts),
        prompts=PROMPTS,
        labels=LABELS,
        probabilities=probabilities(embeds, texts),
        **{f"fault.{fault}": among(len(films), cosines) for fault, cosines in faults(images, texts, some(films), crop)},
    )


@torch.no_grad()
def settle(images: Any, films: Sequence[Path]) -> None:
    """Make of 50 random layers what training makes of them: branches that add little, norms that know their inputs.

    Without, films look alike at the end, or float32 itself is 0.1% of what tells them apart: with whole branches the
    authors' network in float32 is that far from the same in float64, with these 0.003%.
    """
    for name, weight in images.model.named_parameters():
        if name.endswith("bn3.weight"):
            weight.mul_(BRANCH)
    for norm in [each for each in images.model.modules() if isinstance(each, torch.nn.BatchNorm2d)]:
        norm.momentum = 1.0
    images.model.train()
    images.model(torch.cat([images.load_and_transform_input_image(film, images.transform)[0] for film in films]))
    images.model.eval()


def image_embeds(images: Any, films: Sequence[Path]) -> torch.Tensor:
    return torch.stack([images.get_projected_global_embedding(film) for film in films])


def probabilities(embeds: torch.Tensor, texts: Any) -> torch.Tensor:
    """(N, L): softmax over the cosines of both sides, which test_zero_shot_classification.py compares."""
    sides = [text_embeds(texts, [side.format(label) for label in LABELS]) for side in SIDES]
    return torch.stack([embeds @ side.T for side in sides]).softmax(dim=0)[0]


def patch_embeds(images: Any, films: Sequence[Path]) -> torch.Tensor:
    """(N, h, w, D)"""
    return torch.stack([images.get_projected_patch_embeddings(film)[0] for film in films])


def text_embeds(texts: Any, prompts: Sequence[str] = PROMPTS) -> torch.Tensor:
    return torch.cat([texts.get_embeddings_from_prompt(prompt, verbose=False) for prompt in prompts])


def some(films: Sequence[Any]) -> Sequence[Any]:
    """Films of every kind that go through code with a fault."""
    return films[:: max(1, len(films) // FAULTY)]


def among(count: int, cosines: torch.Tensor) -> torch.Tensor:
    """(n, P) of some films → (N, P), NaN for the others."""
    rows = torch.full((count, cosines.shape[1]), torch.nan)
    rows[:: max(1, count // FAULTY)] = cosines
    return rows


def faults(images: Any, texts: Any, films: Sequence[Path], crop: int) -> Iterator[tuple[str, torch.Tensor]]:
    """Cosines (n, P) of the same code with one thing wrong."""
    right_images, right_texts = image_embeds(images, films), text_embeds(texts)
    steps, head, relu = images.transform.transforms, texts.model.cls_projection_head, images.model.projector.model[2]

    head.transform_act_fn = torch.relu
    yield "activation", right_images @ text_embeds(texts).T
    head.transform_act_fn = torch.nn.functional.gelu
    images.model.projector.model[2] = torch.nn.GELU()
    yield "activation_of_projector", image_embeds(images, films) @ right_texts.T
    images.model.projector.model[2] = relu

    places = patch_embeds(images, films).mean(dim=(1, 2))  # each of length 1 before their mean
    yield "pooling", torch.nn.functional.normalize(places, dim=-1) @ right_texts.T

    head.LayerNorm, norm = torch.nn.Identity(), head.LayerNorm
    yield "norm", right_images @ text_embeds(texts).T
    head.LayerNorm = norm

    steps[1] = CenterCrop(928 - crop)  # the other model's
    yield "crop", image_embeds(images, films) @ right_texts.T
    steps[1] = CenterCrop(crop)

    texts.tokenizer.basic_tokenizer.do_lower_case = False
    yield "token", right_images @ text_embeds(texts).T
    texts.tokenizer.basic_tokenizer.do_lower_case = True

    steps.append(lambda pixels: pixels * 255)
    yield "scale", image_embeds(images, films) @ right_texts.T
    steps.pop()

    if hasattr(images.model.encoder, "vit_pooler"):
        pixels = [images.load_and_transform_input_image(film, images.transform)[0] for film in films]
        with torch.no_grad():
            both = [images.model.encoder(pixel, pixel, return_patch_embeddings=True) for pixel in pixels]
            joint = torch.cat([images.model.forward_post_encoder(*each).projected_global_embedding for each in both])
        yield "earlier_film", torch.nn.functional.normalize(joint, dim=-1) @ right_texts.T


if __name__ == "__main__":
    main("biovil")
