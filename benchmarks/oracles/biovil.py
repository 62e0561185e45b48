"""BioViL and BioViL-T by their authors' code with random weights: the files as published, and what becomes of films.

    python benchmarks/oracles/biovil.py --code CHECKOUT --films FOLDER --out FOLDER [--tiny]

CHECKOUT is https://github.com/microsoft/hi-ml at b67c1d2. It needs scikit-image, SimpleITK and a transformers of its
time (4.24.0, with tokenizers 0.13.3 and huggingface_hub 0.16.4). Its code is run as it is, from the film's file to its
embedding, but for what would be fetched: the networks have random weights. biovil_t.py is the same for BioViL-T.

Writes OUT/weights, the folder to import, and OUT/expected.npz: pixel_values (N, 3, H, W), image_embeds (N, D),
patch_embeds (N, h, w, D), text_embeds (L, D), and the prompts.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

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


def image_model(kind: str, tiny: bool) -> Any:
    from health_multimodal.image.model import encoder, resnet
    from health_multimodal.image.model.model import ImageModel

    if tiny:  # their network with one narrow block a stage
        sizes = {"block": resnet.Bottleneck, "layers": [1, 1, 1, 1], "width_per_group": 4, "num_classes": 2}
        encoder.resnet50 = lambda pretrained=False, **more: resnet.ResNetHIML(**sizes, **more)
    model = ImageModel(kind, joint_feature_size=128)
    model.load_state_dict(random_state(model.state_dict(), seed=1))
    return model


def text_engine(folder: Path, tiny: bool) -> Any:
    from health_multimodal.text import CXRBertConfig, CXRBertModel, CXRBertTokenizer, TextInferenceEngine

    words = wordpieces(TINY_WORDS if tiny else FULL_WORDS)
    (folder / "vocab.txt").write_text("".join(f"{word}\n" for word in words), "utf-8")
    sizes = TINY_BERT | {"max_position_embeddings": TINY_PLACES} if tiny else {}
    model = CXRBertModel(CXRBertConfig(vocab_size=len(words), **sizes))
    model.load_state_dict(random_state(model.state_dict(), seed=2))
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    (folder / "config.json").write_text(json.dumps({"model_type": "cxr-bert", "architectures": ["CXRBertModel"]}))
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
    model = image_model(kind, given.tiny)
    torch.save(model.state_dict(), weights / file)
    transform = create_chest_xray_transform_for_inference(resize=512, center_crop_size=crop)
    images, texts = ImageInferenceEngine(model, transform), text_engine(weights, given.tiny)
    films = sorted(given.films.iterdir())
    np.savez_compressed(
        given.out / "expected.npz",
        pixel_values=np.stack([images.load_and_transform_input_image(film, transform)[0][0] for film in films]),
        image_embeds=np.stack([images.get_projected_global_embedding(film) for film in films]),
        patch_embeds=np.stack([images.get_projected_patch_embeddings(film)[0] for film in films]),
        text_embeds=np.stack([texts.get_embeddings_from_prompt(prompt, verbose=False)[0] for prompt in PROMPTS]),
        prompts=PROMPTS,
    )


if __name__ == "__main__":
    main("biovil")
