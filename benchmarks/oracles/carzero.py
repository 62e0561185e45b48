"""CARZero by its authors' code with random weights: the checkpoint as they publish it, and what they make of films.

    python benchmarks/oracles/carzero.py --code CHECKOUT --films FOLDER --out FOLDER [--tiny]

CHECKOUT is https://github.com/laihaoran/CARZero at fa4e09c. It needs opencv-python, nltk and omegaconf beside cxrzero's
own extras. Its code is run as it is, but for what would fetch or find weights: BERT, its vocabulary and the ViT are
built with random weights; ipdb and libraries that inference does not use are empty modules; and `--tiny` lets its
`unlocalpatchify`, which has 768 written in, take other widths.

Writes into --out: carzero.ckpt, vocab.txt, and expected.npz: pixel_values (N, 3, H, W), logits (N, L) of
get_dqn_similarities, attention (N, L, h, w) of get_grounding_map, the prompts, and the logits with each fault.
"""

from __future__ import annotations

import argparse
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from PIL import Image

from tests.support.checkpoints import random_state
from tests.support.vocabulary import PROMPTS, wordpieces

FULL: dict[str, Any] = {"width": 768, "depth": 12, "layers": 12, "inner": 3072, "words": 28996}
TINY: dict[str, Any] = FULL | {"width": 64, "depth": 2, "layers": 5, "inner": 128, "words": 200}


UNUSED = ("ipdb", "segmentation_models_pytorch", "pytorch_lightning", "pytorch_lightning.core", "skimage")
UNUSED += ("skimage.transform", "numpy.lib.function_base", "matplotlib", "matplotlib.pyplot")
# ReLU of the decoder as GELU; the mean of the patches for the class token; mean and standard deviation 0.5; the whole
# picture; pieces that are not added up to words; the last three layers of BERT; both directions added and not averaged.
FAULTS = ("activation", "pooling", "norm", "crop", "token", "layers", "scale")
FAULTY = 4  # films that are asked with a fault, not square ones: a crop would change those less


class _Empty(types.ModuleType):
    """A library that is imported and not used by inference."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


def authors(code: Path, sizes: dict[str, Any], vocabulary: Path) -> Any:
    """Their package, with towers of these sizes and random weights where it would fetch them."""
    for name in ("ipdb", "segmentation_models_pytorch", "pytorch_lightning", "pytorch_lightning.core", "skimage"):
        sys.modules[name] = _Empty(name)
    for name in (
        "skimage.transform",
        "numpy.lib.function_base",
        "matplotlib",
        "matplotlib.pyplot",
        "pytorch_lightning.utilities",
    ):
        sys.modules[name] = _Empty(name)
    sys.modules["skimage"].transform = sys.modules["skimage.transform"]
    bert = transformers.BertConfig(
        vocab_size=sizes["words"],
        hidden_size=sizes["width"],
        num_hidden_layers=sizes["layers"],
        num_attention_heads=max(1, sizes["width"] // 64),
        intermediate_size=sizes["inner"],
    )

    class AutoModel:
        @staticmethod
        def from_pretrained(name: str, output_hidden_states: bool) -> Any:
            bert.output_hidden_states = output_hidden_states
            return transformers.BertModel(bert)

    class AutoTokenizer:
        @staticmethod
        def from_pretrained(name: str) -> Any:
            return transformers.BertTokenizer(str(vocabulary))

    transformers.AutoModel, transformers.AutoTokenizer = AutoModel, AutoTokenizer
    sys.path.insert(0, str(code))
    import CARZero
    from CARZero.models import transformer_backbones as backbones

    if sizes["width"] != 768:

        def unlocalpatchify(self: Any, x: torch.Tensor) -> torch.Tensor:
            side = int(x.shape[1] ** 0.5)
            return torch.einsum("nhwc->nchw", x.reshape(x.shape[0], side, side, x.shape[2]))

        backbones.MRM.unlocalpatchify = unlocalpatchify
    norm = backbones.partial(torch.nn.LayerNorm, eps=1e-6)

    def vit(pretrained: bool) -> Any:
        heads = max(1, sizes["width"] // 64)
        trunk = backbones.MRM(224, 16, 3, sizes["width"], sizes["depth"], heads, norm_layer=norm)
        return trunk, trunk.embed_dim, None

    backbones.vit_b_16 = vit
    return CARZero


def config(code: Path, sizes: dict[str, Any]) -> Any:
    from omegaconf import OmegaConf

    stated = OmegaConf.load(code / "configs/mimic_pretrain_llm_dqn_wo_self_atten_mlp_gl.yaml")
    stated.model.text.embedding_dim = stated.model.fusion.d_model = sizes["width"]
    return stated


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--code", type=Path, required=True)
    parser.add_argument("--films", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tiny", action="store_true")
    given = parser.parse_args()
    sizes = TINY if given.tiny else FULL
    given.out.mkdir(parents=True, exist_ok=True)
    vocabulary = given.out / "vocab.txt"
    vocabulary.write_text("".join(f"{piece}\n" for piece in wordpieces(sizes["words"])), "utf-8")
    package = authors(given.code, sizes, vocabulary)
    stated = config(given.code, sizes)
    model = package.builder.build_CARZero_dqn_wo_self_atten_mlp_gl_model(stated)
    state = random_state(model.state_dict())
    state["fusion_module.decoder.norm.weight"] = state["fusion_module.decoder_norm.weight"]  # one module
    state["fusion_module.decoder.norm.bias"] = state["fusion_module.decoder_norm.bias"]
    lightning = {"state_dict": {f"CARZero.{name}": value for name, value in state.items()}, "hyper_parameters": stated}
    torch.save({**lightning, "epoch": 14, "global_step": 1}, given.out / "carzero.ckpt")

    load = torch.load
    package.CARZero.torch.load = lambda path, map_location: load(path, map_location=map_location, weights_only=False)
    files = sorted(str(path) for path in given.films.iterdir())
    sizes_of_films = [Image.open(file).size for file in files]
    faulty = [number for number, (width, height) in enumerate(sizes_of_films) if width != height][:FAULTY]

    def answers(fault: str) -> Any:
        """Logits (N, L) by the authors' own way through their checkpoint but for one fault, and what they came from.

        With a fault, the logits of the other films are NaN.
        """
        model = package.load_CARZero(str(given.out / "carzero.ckpt"), device="cpu")
        plant(model, fault)
        texts = model.process_class_prompts({prompt: [prompt] for prompt in PROMPTS}, "cpu")
        asked = faulty if fault else range(len(files))
        pixels = model.process_img([files[number] for number in asked], "cpu")
        logits = np.full((len(files), len(PROMPTS)), np.nan, np.float32)
        logits[list(asked)] = package.dqn_shot_classification(model, pixels, texts).to_numpy()
        return (2 * logits if fault == "scale" else logits), pixels, model, texts

    logits, pixels, model, texts = answers("")
    _, attention = package.grounding_shot_classification(model, pixels, texts)
    np.savez_compressed(
        given.out / "expected.npz",
        pixel_values=pixels.numpy(),
        logits=logits,
        attention=attention,
        prompts=PROMPTS,
        **{f"fault.{fault}": answers(fault)[0] for fault in FAULTS},
    )


def plant(model: Any, fault: str) -> None:
    if fault == "activation":
        for layer in model.fusion_module.decoder.layers:
            layer.activation = torch.nn.functional.gelu
    elif fault == "pooling":
        forward = model.image_encoder_forward
        model.image_encoder_forward = lambda images: ((local := forward(images)[0]), local.mean(dim=(2, 3)))
    elif fault == "norm":
        model.cfg.transforms.norm = "half"
    elif fault == "crop":
        model.cfg.data.image.imsize = 224
    elif fault == "token":
        model.text_encoder.agg_tokens = False
    elif fault == "layers":
        model.text_encoder.last_n_layers = 3


if __name__ == "__main__":
    main()
