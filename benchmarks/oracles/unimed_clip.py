"""UniMed-CLIP by its authors' code with random weights: the file as published, and what becomes of films.

    python benchmarks/oracles/unimed_clip.py --code CHECKOUT --films FOLDER --out FOLDER [--tiny]

CHECKOUT is https://github.com/mbzuai-oryx/UniMed-CLIP at 6f09177. It needs a transformers of its time (4.24.0, with
tokenizers 0.13.3 and huggingface_hub 0.16.4), ftfy and regex. Its code is run as it is, but for what would be fetched:
the text encoder is built from a folder with a configuration and random weights. CLIP's own vocabulary, which its
package reads when it is imported and this model does not use, is that of open_clip.

Writes OUT/weights (unimed-clip-vit-b16.pt, vocab.txt) and OUT/expected.npz: pixel_values (N, 3, H, W),
image_embeds (N, D), text_embeds (P, D), the prompts, probabilities (N, L) and their labels, and cosines (N, P)
with faults planted, rows of NaN for most films.
"""

from __future__ import annotations

import argparse
import gzip
import importlib.util
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from tokenizers.normalizers import BertNormalizer
from torch.nn.functional import normalize
from torchvision import transforms
from transformers import BertConfig, BertModel

from tests.support.checkpoints import random_state
from tests.support.vocabulary import PROMPTS, wordpieces

FULL_WORDS, TINY_WORDS = 30522, 200
CONTEXT, TINY_CONTEXT = 256, 40
TINY_BERT = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 1, "intermediate_size": 128}
TINY = {
    "embed_dim": 32,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 64, "layers": 2, "width": 64, "patch_size": 16},
    "text_cfg": {},
}
FAULTY = 8  # films at most that go through code with a fault
LABELS = ("pneumonia", "edema", "pleural effusion")
SIDES = ("{} is indicated in this chest X-ray image.", "No {} is indicated in this chest X-ray image.")
BPE = "bpe_simple_vocab_16e6.txt.gz"


def authors(code: Path) -> Any:
    """Their fork of open_clip, under its name."""
    installed = importlib.util.find_spec("open_clip")
    assert installed is not None
    assert installed.origin is not None
    vocabulary, opened = Path(installed.origin).with_name(BPE), gzip.open
    gzip.open = lambda path, *rest: opened(vocabulary if str(path).endswith(BPE) else path, *rest)
    sys.path.insert(0, str(code / "src"))
    import open_clip

    gzip.open = opened
    return open_clip


def text_encoder(folder: Path, tiny: bool) -> Path:
    """What stands for microsoft/BiomedNLP-BiomedBERT-base-uncased-abstract."""
    words = wordpieces(TINY_WORDS if tiny else FULL_WORDS)
    sizes = TINY_BERT | {"max_position_embeddings": TINY_CONTEXT} if tiny else {}
    BertModel(BertConfig(vocab_size=len(words), **sizes)).save_pretrained(folder)
    (folder / "vocab.txt").write_text("".join(f"{word}\n" for word in words), "utf-8")
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--code", type=Path, required=True)
    parser.add_argument("--films", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tiny", action="store_true")
    given = parser.parse_args()
    weights = given.out / "weights"
    weights.mkdir(parents=True, exist_ok=True)
    package = authors(given.code)
    if given.tiny:
        from open_clip import factory

        factory._MODEL_CONFIGS["tiny"] = TINY
    encoder = text_encoder(given.out / "bert", given.tiny)
    mean, std = package.get_mean_std()
    model, _, preprocess = package.create_model_and_transforms(
        "tiny" if given.tiny else "ViT-B-16-quickgelu",
        force_quick_gelu=True,
        mean=mean,
        std=std,
        inmem=True,
        text_encoder_name=str(encoder),
    )
    model.load_state_dict(random_state(model.state_dict()))
    model.eval()
    torch.save({"epoch": 10, "name": "b16_400m", "state_dict": model.state_dict()}, weights / "unimed-clip-vit-b16.pt")
    shutil.copy2(encoder / "vocab.txt", weights)
    tokenizer = package.HFTokenizer(str(encoder), context_length=TINY_CONTEXT if given.tiny else CONTEXT)
    films = [Image.open(film) for film in sorted(given.films.iterdir())]
    pixels = torch.stack([preprocess(film) for film in films])
    embeds = image_embeds(model, pixels)
    np.savez_compressed(
        given.out / "expected.npz",
        pixel_values=pixels,
        image_embeds=embeds,
        text_embeds=text_embeds(model, tokenizer),
        prompts=PROMPTS,
        labels=LABELS,
        probabilities=probabilities(model, embeds, tokenizer),
        **{
            f"fault.{fault}": among(len(films), cosines)
            for fault, cosines in faults(model, preprocess, tokenizer, some(films))
        },
    )
    shutil.rmtree(encoder)


@torch.no_grad()
def probabilities(model: Any, embeds: torch.Tensor, tokenizer: Any) -> torch.Tensor:
    """(N, L): softmax over logit_scale · cosine of both sides, as README.md has it."""
    sides = [text_embeds(model, tokenizer, [side.format(label) for label in LABELS]) for side in SIDES]
    logits = torch.stack([model.logit_scale.exp() * embeds @ texts.T for texts in sides])
    return logits.softmax(dim=0)[0]


@torch.no_grad()
def image_embeds(model: Any, pixels: torch.Tensor) -> torch.Tensor:
    return torch.cat([normalize(model.encode_image(pixel[None]), dim=-1) for pixel in pixels])


@torch.no_grad()
def text_embeds(model: Any, tokenizer: Any, prompts: Sequence[str] = PROMPTS) -> torch.Tensor:
    return torch.cat([normalize(model.encode_text(tokenizer(prompt)), dim=-1) for prompt in prompts])


def some(films: Sequence[Any]) -> Sequence[Any]:
    """Films of every kind that go through code with a fault."""
    return films[:: max(1, len(films) // FAULTY)]


def among(count: int, cosines: torch.Tensor) -> torch.Tensor:
    """(n, P) of some films → (N, P), NaN for the others."""
    rows = torch.full((count, cosines.shape[1]), torch.nan)
    rows[:: max(1, count // FAULTY)] = cosines
    return rows


def faults(
    model: Any, preprocess: Any, tokenizer: Any, films: Sequence[Image.Image]
) -> Iterator[tuple[str, torch.Tensor]]:
    """Cosines (n, P) of the same code with one thing wrong."""
    from open_clip.hf_model import MeanPooler

    pixels = torch.stack([preprocess(film) for film in films])
    right_images, right_texts = image_embeds(model, pixels), text_embeds(model, tokenizer)
    steps = preprocess.transforms

    blocks = model.visual.transformer.resblocks
    quick = [block.mlp.gelu for block in blocks]
    for block in blocks:
        block.mlp.gelu = torch.nn.GELU()
    yield "activation", image_embeds(model, pixels) @ right_texts.T
    for block, gelu in zip(blocks, quick, strict=True):
        block.mlp.gelu = gelu

    pooler, model.text_encoder.pooler = model.text_encoder.pooler, MeanPooler()
    yield "pooling", right_images @ text_embeds(model, tokenizer).T
    model.text_encoder.pooler = pooler

    wrong = transforms.Compose([*steps[:-1], transforms.Normalize([0.5] * 3, [0.5] * 3)])
    yield "norm", image_embeds(model, torch.stack([wrong(film) for film in films])) @ right_texts.T

    size = pixels.shape[-1]
    wrong = transforms.Compose([transforms.Resize((size, size), transforms.InterpolationMode.BICUBIC), *steps[1:]])
    yield "crop", image_embeds(model, torch.stack([wrong(film) for film in films])) @ right_texts.T

    tokenizer.tokenizer.backend_tokenizer.normalizer = BertNormalizer(lowercase=False)
    yield "token", right_images @ text_embeds(model, tokenizer).T
    tokenizer.tokenizer.backend_tokenizer.normalizer = BertNormalizer(lowercase=True)

    wrong = transforms.Compose([*steps[:-1], lambda values: values * 255, steps[-1]])
    yield "scale", image_embeds(model, torch.stack([wrong(film) for film in films])) @ right_texts.T


if __name__ == "__main__":
    main()
