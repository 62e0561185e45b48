"""RadZero by its authors' code with random weights: the folder as they publish it, and what they make of films.

    python benchmarks/oracles/radzero.py --code CHECKOUT --films FOLDER --out FOLDER [--tiny]

CHECKOUT is https://github.com/deepnoid-ai/RadZero at 656ae5f. It needs transformers 4.39.3, which its requirements.txt
pins (its own DINOv2 interpolates places as newer versions do not), opencv-python and omegaconf. Its code is run as it
is, but for what would fetch: DINOv2, MPNet and their files are built with random weights; and libraries that inference
does not use are empty modules. Mean and standard deviation of its image processor lie with its weights: any will do.

Writes into --out: the folder `weights` (config.json, model.safetensors, preprocessor_config.json, tokenizer.json), and
expected.npz: pixel_values (N, 3, H, W), logits (N, L) and attention (N, L, h, w), the similarity_scores, both of
compute_logits, the prompts, and the logits with each fault.
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

from benchmarks.oracles import trunks
from tests.support.checkpoints import random_state
from tests.support.vocabulary import PROMPTS, wordpieces

FULL: dict[str, Any] = {"width": 768, "depth": 12, "inner": 3072, "words": 30527, "stored": 224, "side": 518}
TINY: dict[str, Any] = {"width": 64, "depth": 2, "inner": 128, "words": 200, "stored": 56, "side": 70}
CARZERO = "external.CARZero.CARZero.models.transformer_backbones"
UNUSED = ["peft", "torchmetrics", "torchmetrics.segmentation", "common.trainer", "common.utils"]
UNUSED += ["external", "external.CARZero", "external.CARZero.inference", "external.CARZero.CARZero"]
UNUSED += [CARZERO.rpartition(".")[0], CARZERO]


# DINOv2's GELU as QuickGELU; a sentence's first token for its mean; tokens without the last norm; films padded to a
# square; patches alone, without the class token; no added layers; the cosine itself.
FAULTS = ("activation", "pooling", "norm", "crop", "token", "layers", "scale")
FAULTY = 4  # films that are asked with a fault, not square ones: a crop would not change those
OF_FILMS = ("activation", "crop", "layers")  # faults for which films are looked at again


class _Empty(types.ModuleType):
    """A library that is imported and not used by inference."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {"info": staticmethod(print)})


def authors(code: Path, sizes: dict[str, Any]) -> Any:
    """Their model, with towers of these sizes where it would fetch them."""
    for name in UNUSED:
        sys.modules[name] = _Empty(name)
    sys.path.insert(0, str(code))
    heads = max(1, sizes["width"] // 64)
    alike = {"hidden_size": sizes["width"], "num_hidden_layers": sizes["depth"], "num_attention_heads": heads}
    dinov2 = transformers.Dinov2Config(image_size=sizes["stored"], patch_size=14, **alike)
    mpnet = transformers.MPNetConfig(
        vocab_size=sizes["words"],
        intermediate_size=sizes["inner"],
        max_position_embeddings=514,
        layer_norm_eps=1e-5,
        **alike,
    )
    transformers.AutoConfig.from_pretrained = lambda name: dinov2
    transformers.Dinov2Model.from_pretrained = lambda name: transformers.Dinov2Model(dinov2)
    transformers.AutoModel.from_pretrained = lambda name: transformers.MPNetModel(mpnet)
    from exp.cxr_pt.model.configuration import CxrAlignConfig
    from exp.cxr_pt.model.modeling import CxrAlignModel
    from omegaconf import OmegaConf

    stated: Any = OmegaConf.to_container(OmegaConf.load(code / "exp/cxr_pt/configs/radzero.yaml"))["model"]
    stated["model_config"]["vision_config"]["img_size"] = sizes["side"]
    more = stated["model_config"]["align_transformer_config"]
    more |= {"hidden_size": sizes["width"], "num_attention_heads": heads}
    stated["model_config"]["loss"]["RadZeroLoss"]["hidden_dim"] = sizes["width"]
    config = CxrAlignConfig(module_to_update=stated["module_to_update"], pretrained_dir=None, **stated["model_config"])
    model = CxrAlignModel(config).eval()
    # compute_logits asks for what RadZeroLoss nowhere sets; it gives t2i_logits alone: there is no other way through.
    model.loss_fns["RadZeroLoss"].compute_i2t_loss = False
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--code", type=Path, required=True)
    parser.add_argument("--films", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tiny", action="store_true")
    given = parser.parse_args()
    sizes = TINY if given.tiny else FULL
    folder = given.out / "weights"
    folder.mkdir(parents=True, exist_ok=True)
    model = authors(given.code, sizes)
    state = random_state(model.state_dict())
    model.load_state_dict(state if given.tiny else trunks.with_small_branches(state))
    model.save_pretrained(folder)
    vocabulary = given.out / "vocab.txt"
    pieces = ["<s>", "<pad>", "</s>", "[UNK]", *wordpieces(sizes["words"] - 1)[5:], "<mask>"]
    vocabulary.write_text("".join(f"{piece}\n" for piece in pieces[: sizes["words"]]), "utf-8")
    tokenizer = transformers.MPNetTokenizerFast(str(vocabulary), model_max_length=512)
    tokenizer.save_pretrained(folder)
    processor = transformers.BlipImageProcessor(
        size={"height": sizes["side"], "width": sizes["side"]},
        image_mean=[0.485, 0.456, 0.406],
        image_std=[0.229, 0.224, 0.225],
    )
    processor.save_pretrained(folder)

    # Not used, and would import libraries of its own. (Importing their code has put another lazy module in its place.)
    sys.modules["transformers"].Trainer = object
    from exp.cxr_pt.inference.dataset import collate_fn
    from exp.cxr_pt.inference.utils import process_class_prompts
    from exp.cxr_pt.model import processing

    films = [Image.open(path) for path in sorted(given.films.iterdir())]
    state = model.state_dict()
    faulty = [number for number, film in enumerate(films) if film.width != film.height][:FAULTY]
    seen: list[Any] = []  # what the image tower gives of each film

    def answers(fault: str) -> tuple[Any, Any, Any]:
        """Logits (N, L), similarity scores (N, L, T) and pixel values, by the authors' code but for one fault.

        With one, the logits of the other films are NaN.
        """
        model = authors(given.code, sizes)
        model.load_state_dict(state)
        plant(model, fault)
        asked = faulty if fault else range(len(films))
        look = model.forward_vision_model
        if not fault:
            model.forward_vision_model = lambda pixels: seen.append(look(pixels)) or seen[-1]
        elif fault not in OF_FILMS:
            again = iter([seen[number] for number in asked])
            model.forward_vision_model = lambda pixels: next(again)
        read = processing.AspectRatioBlipImageProcessor(**vars(processor)) if fault == "crop" else processor
        texts = process_class_prompts({str(n): [prompt] for n, prompt in enumerate(PROMPTS)}, tokenizer, model)
        with torch.no_grad():
            pixels = torch.cat([collate_fn([films[number]], read) for number in asked])
            parts = [model.compute_logits(one, [texts["encoded_key_phrases"]]) for one in pixels.split(1)]
        logits = torch.full((len(films), len(PROMPTS)), torch.nan)
        logits[list(asked)] = torch.stack([part["logits"] for part in parts])  # of one film it drops the axis
        if fault == "scale":
            logits *= model.loss_fns["RadZeroLoss"].loss_temperature.exp().item()
        return logits.numpy(), torch.cat([part["similarity_scores"] for part in parts]), pixels.numpy()

    logits, scores, pixels = answers("")
    side = round(scores.shape[2] ** 0.5)
    np.savez_compressed(
        given.out / "expected.npz",
        pixel_values=pixels,
        logits=logits,
        attention=scores.unflatten(2, (side, side)).numpy(),
        prompts=PROMPTS,
        **{f"fault.{fault}": answers(fault)[0] for fault in FAULTS},
    )


def plant(model: Any, fault: str) -> None:
    loss = model.loss_fns["RadZeroLoss"]
    if fault == "activation":
        for layer in model.vision_model.encoder.layer:
            layer.mlp.activation = transformers.activations.ACT2FN["quick_gelu"]
    elif fault == "pooling":
        model.config.text_config.use_cls_token = True
    elif fault == "norm":
        loss.layer_norm = None
    elif fault == "token":
        loss.use_vision_cls_token = False
    elif fault == "layers":
        model.align_transformer.transformer_layers = None


if __name__ == "__main__":
    main()
